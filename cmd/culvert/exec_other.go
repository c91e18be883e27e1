//go:build !unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
)

// offer serves a tunnel's service at a local port until ctx ends, and returns the settings with which ssh connects to it.
func offer(ctx context.Context, serving *sync.WaitGroup, t tunnel, service, _ string) ([]string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for ssh: %w", err)
	}
	serving.Go(func() { _ = t.Serve(ctx, service, l) })
	return []string{"HostName=127.0.0.1", fmt.Sprintf("Port=%d", l.Addr().(*net.TCPAddr).Port), "ProxyCommand=none"}, nil
}

// terminate kills a process: this system has no signal that asks a process to end.
func terminate(p *os.Process) error { return p.Kill() }

// readerLeft reports whether a write failed because the other end of the pipe is closed: Windows calls that
// ERROR_BROKEN_PIPE or ERROR_NO_DATA.
func readerLeft(err error) bool {
	return errors.Is(err, syscall.Errno(109)) || errors.Is(err, syscall.Errno(232))
}
