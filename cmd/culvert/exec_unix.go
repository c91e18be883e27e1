//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/culvert-iot/culvert/operator/openssh"
)

// offer serves a tunnel's service at a Unix socket until ctx ends, and returns the settings with which ssh gets its
// connection from there. So there is no process of culvert's for each device.
func offer(ctx context.Context, serving *sync.WaitGroup, t tunnel, service, socket string) ([]string, error) {
	self, err := ownPath()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("hand the connection to ssh: %w", err)
	}
	serving.Go(func() { _ = t.Serve(ctx, service, l) })
	return []string{"ProxyUseFdpass=yes", "ProxyCommand=" + openssh.Quote(self) + " handover " + openssh.Quote(socket)}, nil
}

// terminate asks a process to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// readerLeft reports whether a write failed because the other end of the pipe is closed.
func readerLeft(err error) bool { return errors.Is(err, syscall.EPIPE) }
