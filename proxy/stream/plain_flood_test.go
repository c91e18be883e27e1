package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// A source that offers records and goes on with plain bytes keeps to no credit. What its target does not take stays
// bounded all the same, and the target loses its connection as it would with a foreign source.
func TestPlainBytesBeforeTheRecordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
		near, far := newPair()
		var log logLines
		d := NewDestination(DestinationConfig{
			Config: Config{Transport: near, Resume: registry, Logger: slog.New(&log)},
			Dial: func(context.Context, string) (net.Conn, error) {
				target, reads, _ := newOneWay()
				go func() { _, _ = io.CopyN(io.Discard, reads, 100_000) }() // and no more
				return target, nil
			},
			DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
		})
		served := make(chan struct{})
		go func() { defer close(served); _ = d.Serve() }()
		go func() { _, _ = io.Copy(io.Discard, far) }()

		start := frame.Message{Type: frame.StreamStart, StreamID: offeringID(false), ServiceID: "X", ConnectionID: 1}
		send := func(m frame.Message) {
			b, err := m.AppendFrame(nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = far.Write(b)
		}
		send(start)
		plain := start
		plain.Type = frame.Data
		send(plain)
		plain.Payload = make([]byte, 60_000)
		go func() {
			for range 500 {
				send(plain)
			}
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if used := registry.Memory.Used(); used == 0 || used > plainLimit+2*largeChunk {
			t.Errorf("%d bytes wait for a target that takes nothing", used)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if used := registry.Memory.Used(); used != 0 {
			t.Errorf("%d bytes still wait for it after 10 s", used)
		}
		if lines := log.all(); len(lines) != 1 || !strings.Contains(lines[0], "its target takes no data") {
			t.Errorf("the log says %q", lines)
		}
		_ = far.Close(closeNormal, "")
		<-served
		stop(registry)
	})
}
