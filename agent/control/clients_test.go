package control

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

func TestNoMoreThanAFewClientsAreServedAtATime(t *testing.T) {
	path := socketPath(t)
	var now, most, all atomic.Int32
	full, release := make(chan struct{}, 100), make(chan struct{})
	serve(t, path, func(context.Context, Request) (any, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			continue
		}
		full <- struct{}{}
		<-release
		all.Add(1)
		return nil, nil
	})
	const clients = 5 * maxClients
	var asked sync.WaitGroup
	for range clients {
		asked.Go(func() {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, `{"command":"ping"}`+"\n")
			if _, err := readLine(conn, maxAnswer); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxClients {
		<-full
	}
	close(release)
	asked.Wait()
	if most.Load() != maxClients || all.Load() != clients {
		t.Errorf("%d at a time, %d in all", most.Load(), all.Load())
	}
}
