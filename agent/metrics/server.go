// Package metrics serves a daemon's figures to a monitoring system: GET over HTTP/1.1 on this machine's loopback or on a
// unix socket, one request a connection.
//
// It answers with what its handler returns and knows nothing of what the figures mean. It is written by hand because the
// server of net/http would add 0.56 MB to a daemon of 8 MB, for a job that takes one small request, and no library
// of metrics is smaller. What it reads is bounded in size and time: any program of the machine can connect.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
)

const (
	// maxClients bounds the requests that are served at one time. More wait in the socket's own queue.
	maxClients = 8
	// requestLimit is for the whole request to arrive, answerLimit for the answer to be taken.
	requestLimit = 5 * time.Second
	answerLimit  = 10 * time.Second
	// acceptPause is the wait after the system had no file descriptor left.
	acceptPause = time.Second
)

// Handler makes the answer to a GET of a path. It is called from several goroutines.
type Handler func(path string) Response

// Server listens for requests.
type Server struct {
	listener net.Listener
	log      *slog.Logger
}

// Listen opens address: "host:port", or "unix:" and a path. A unix socket that nobody answers on is replaced; its mode is
// 0666, so that its directory's mode says who may use it. Errors say what to do.
func Listen(address string, log *slog.Logger) (*Server, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("%w: choose another port for metrics.listen, or end the program that has it", err)
		}
		return &Server{l, log}, nil
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666) //nolint:gosec // the directory's mode decides, as for a port of loopback the machine's users do
	}
	if err != nil {
		return nil, fmt.Errorf("%w: let culvertd's user write to the directory, or set metrics.listen to another path", err)
	}
	return &Server{l, log}, nil
}

// removeDead makes room for a socket where an ended daemon has left one.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: set metrics.listen to another path", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is no socket: set metrics.listen to another path", path)
	}
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("another program answers on %s: set metrics.listen to another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("%w: remove it, or set metrics.listen to another path", err)
	}
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers requests until ctx ends. It returns when the last answer is given.
func (s *Server) Serve(ctx context.Context, handle Handler) error {
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	places := make(chan struct{}, maxClients)
	troubled := false
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := s.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case err != nil: // out of file descriptors, most likely: it passes, and must not stop the tunnels
			if !troubled {
				s.log.Warn("metrics cannot be asked for now", "error", err)
			}
			troubled = true
			<-places
			_ = backoff.Sleep(ctx, acceptPause)
			continue
		}
		troubled = false
		clients.Go(func() {
			defer func() { <-places }()
			serve(ctx, conn, handle)
		})
	}
}

// Close ends a server whose Serve was never called.
func (s *Server) Close() { _ = s.listener.Close() }

// serve takes one request from conn, answers it, and closes conn.
func serve(ctx context.Context, conn net.Conn, handle Handler) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(requestLimit))
	head, err := readHead(conn)
	if err != nil && !errors.Is(err, errTooLong) {
		return // gone, or too slow: there is nobody to tell
	}
	r := Response{Status: statusTooLong}
	var method string
	if err == nil {
		var path string
		if method, path, r.Status = parse(head); r.Status == 0 {
			r = handle(path)
		}
	}
	_ = conn.SetWriteDeadline(time.Now().Add(answerLimit))
	if _, err := conn.Write(r.append(nil, method != "HEAD")); err != nil {
		return
	}
	// What is left unread would make the system reset the connection, and the answer could be lost with it.
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		discard(conn)
	}
}
