package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// bothWays sends size pseudo-random bytes over c while the far side sends as many of another seed, and
// returns once both are checked. farSide does the mirror image.
func bothWays(c net.Conn, size int64, out, in uint64) error {
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() { _, sent = io.CopyN(c, random(out), size) })
	got, want := sha256.New(), sha256.New()
	_, err := io.CopyN(got, c, size)
	wg.Wait()
	if sent != nil {
		return fmt.Errorf("send: %w", sent)
	}
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if _, err := io.CopyN(want, random(in), size); err != nil {
		return err
	}
	if string(got.Sum(nil)) != string(want.Sum(nil)) {
		return fmt.Errorf("%d bytes arrived changed", size)
	}
	return nil
}

// random is an endless reader of the same bytes for the same seed.
func random(seed uint64) io.Reader {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	return rand.NewChaCha8(key)
}

// checkingServer answers "hello" with "hello", so that tests can wait until the service answers. "bytes", and a byte that is
// the connection's own number, has both sides send size bytes of seeds which the number gives; the number comes back when
// all have arrived.
func checkingServer(t *testing.T, size int64, seeds func(number byte) (up, down uint64)) (address string) {
	return server(t, func(c net.Conn) {
		var word [5]byte
		if _, err := io.ReadFull(c, word[:]); err != nil {
			return
		}
		if string(word[:]) == "hello" {
			_, _ = c.Write(word[:])
			return
		}
		var number [1]byte
		if _, err := io.ReadFull(c, number[:]); err != nil {
			t.Errorf("device's side: %v", err)
			return
		}
		up, down := seeds(number[0])
		if err := bothWays(c, size, down, up); err != nil {
			t.Errorf("connection %d, device's side: %v", number[0], err)
			return
		}
		_, _ = c.Write(number[:]) // all is there
		_, _ = io.Copy(io.Discard, c)
	})
}

// exchange is the client of a checkingServer.
func exchange(c net.Conn, size int64, number byte, up, down uint64) error {
	if _, err := c.Write(append([]byte("bytes"), number)); err != nil {
		return err
	}
	if err := bothWays(c, size, up, down); err != nil {
		return err
	}
	var last [1]byte
	if _, err := io.ReadFull(c, last[:]); err != nil || last[0] != number {
		return fmt.Errorf("the device's side has not received all: %w", err)
	}
	return nil
}

// connectWhenFree is connectTo once no other connection is open, of which V1 and V2 can have only one.
func connectWhenFree(t *testing.T, source *proxy.Source, service string) (c net.Conn) {
	t.Helper()
	eventually(t, 10*time.Second, "a connection may be opened", func() bool {
		local, remote := tcpPair(t)
		if err := source.Open(context.Background(), service, remote); err != nil {
			_, _ = local.Close(), remote.Close()
			return false
		}
		c = local
		return true
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestEverySourceGetsEveryByteThroughAnAwkwardRelay carries 16 MiB each way at the same time between a source of each
// version and the daemon. The sandbox's relay cuts and merges websocket messages at random, up to the longest allowed.
func TestEverySourceGetsEveryByteThroughAnAwkwardRelay(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	seeds := func(n byte) (up, down uint64) { return 2 * uint64(n), 2*uint64(n) + 1 }
	d := startDevice(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t), "BULK": checkingServer(t, size, seeds)}})
	for i, form := range []proxy.Form{proxy.V1, proxy.V2, proxy.V3} {
		t.Run(form.String(), func(t *testing.T) {
			service := "BULK"
			if form == proxy.V1 {
				service = ""
			}
			tunnel := openTunnel(t, d.box, d.daemon, "BULK")
			source := startSource(t, d.box, tunnel.SourceToken, form)
			eventually(t, 10*time.Second, "the service answers", func() bool { return answers(source, service, time.Second) })
			up, down := seeds(byte(i))
			if err := exchange(connectWhenFree(t, source, service), size, byte(i), up, down); err != nil {
				t.Errorf("operator's side: %v", err)
			}
		})
	}
}

// TestHundredConnectionsToEachOfThreeServices has three hundred connections at the same time on one tunnel of the daemon.
// All send and receive bytes that no other connection has, so that one in the wrong place is seen.
func TestHundredConnectionsToEachOfThreeServices(t *testing.T) {
	t.Parallel()
	const connections, size = 100, 256 << 10
	names, services := []string{"SSH", "HTTP", "APP"}, map[string]string{"ECHO": echoServer(t)}
	seeds := func(service int, n byte) (up, down uint64) {
		up = uint64(service)<<16 | uint64(n)
		return up, up | 1<<8
	}
	for i, name := range names {
		services[name] = checkingServer(t, size, func(n byte) (up, down uint64) { return seeds(i, n) })
	}
	d := startDevice(t, sandbox.Config{Services: services})
	tunnel := openTunnel(t, d.box, d.daemon, names...)
	source := startSource(t, d.box, tunnel.SourceToken, proxy.V3)
	eventually(t, 10*time.Second, "the tunnel answers", func() bool { return answers(source, names[0], time.Second) })
	// All connections are up before the first byte.
	var all [][]net.Conn
	for _, name := range names {
		var of []net.Conn
		for range connections {
			of = append(of, connectTo(t, source, name))
		}
		all = append(all, of)
	}
	eventually(t, 20*time.Second, "three hundred connections at once", func() bool {
		open := 0
		for _, s := range d.daemon.status(t).Services {
			open += s.Connections
		}
		return open == len(names)*connections
	})
	var running sync.WaitGroup
	for i, of := range all {
		for n, c := range of {
			running.Go(func() {
				up, down := seeds(i, byte(n))
				if err := exchange(c, size, byte(n), up, down); err != nil {
					t.Errorf("%s connection %d, operator's side: %v", names[i], n, err)
				}
			})
		}
	}
	running.Wait()
}
