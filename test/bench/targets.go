package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"sync"

	"github.com/culvert-iot/culvert/test/harness"
)

const (
	requestSize = 100
	answerSize  = 10_000
)

// services are what the targets offer, each on a port of its own. A tunnel may have three.
var services = []string{"ECHO", "BULK", "WEB"}

// serveTargets runs the servers that the device's side connects to, and prints their addresses.
func serveTargets(ctx context.Context, out io.Writer) error {
	addresses := map[string]string{}
	for name, handle := range map[string]func(net.Conn){"ECHO": harness.Echo, "BULK": bulkTarget, "WEB": web} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses[name] = l.Addr().String()
		go serve(l, handle)
	}
	if err := json.NewEncoder(out).Encode(addresses); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// serve answers connections until the process ends.
func serve(l net.Listener, handle func(net.Conn)) { _ = harness.Serve(l, new(sync.WaitGroup), handle) }

// bulkTarget takes requests of a direction and a length: to the device, it reads that many bytes and answers one; from
// the device, it sends that many.
func bulkTarget(c net.Conn) {
	var head [9]byte
	buf := make([]byte, 256<<10)
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		left := int64(binary.BigEndian.Uint64(head[1:])) //nolint:gosec // lengths are ours
		toDevice := direction(head[0]) == toDevice
		for left > 0 {
			move := c.Write
			if toDevice {
				move = c.Read
			}
			n, err := move(buf[:min(left, int64(len(buf)))])
			if left -= int64(n); err != nil {
				return
			}
		}
		if toDevice {
			if _, err := c.Write(head[:1]); err != nil {
				return
			}
		}
	}
}

// web answers a request and closes.
func web(c net.Conn) {
	if _, err := io.ReadFull(c, make([]byte, requestSize)); err == nil {
		_, _ = c.Write(make([]byte, answerSize))
	}
}
