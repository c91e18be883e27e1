package metrics

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/hint"
)

const (
	// maxClients bounds the connections at one time. For one more, the longest silent one is closed.
	maxClients = 16
	// requestLimit is for the whole request to arrive, answerLimit for the answer to be taken.
	requestLimit = 5 * time.Second
	answerLimit  = 10 * time.Second

	elsewhere = "set metrics.listen to another path"
)

// Handler makes the answer to a GET of a path. It is called from several goroutines.
type Handler func(path string) Response

// Server listens for requests.
type Server struct {
	listener net.Listener
	ours     func(host string) bool // nil on a unix socket, which no browser reaches
	log      *slog.Logger
}

// Listen opens address: "host:port", or "unix:" and a path. A unix socket without a server is replaced; its mode is
// 0666, so that its directory's mode says who may use it. Errors carry hints.
func Listen(address string, log *slog.Logger) (*Server, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, hint.Wrap(err, "choose another port for metrics.listen, or end the program that has it")
		}
		return &Server{l, loopbackHost(address), log}, nil
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666) //nolint:gosec // the directory's mode decides, as for a port of loopback the machine's users do
	}
	if err != nil {
		return nil, hint.Wrap(err, "let culvertd's user write to the directory, or "+elsewhere)
	}
	return &Server{l, nil, log}, nil
}

// removeDead makes room for a socket where an ended daemon has left one.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return hint.Wrap(err, elsewhere)
	case info.Mode().Type() != fs.ModeSocket:
		return hint.New(path+" exists and is not a socket", elsewhere)
	}
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path); err == nil {
		_ = conn.Close()
		return hint.New("another program answers on "+path, elsewhere)
	}
	if err := os.Remove(path); err != nil {
		return hint.Wrap(err, "remove it, or "+elsewhere)
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
	var places places
	accepting := accept.Acceptor{Listener: s.listener, Warn: func(err error) {
		s.log.Warn("metrics cannot be served for now", "error", hint.Line(err))
	}}
	for {
		conn, err := accepting.Next(ctx)
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		place := places.take(conn)
		clients.Go(func() {
			defer places.leave(place)
			s.serve(ctx, conn, handle, func() { places.asked(place) })
		})
	}
}

// place is a connection and whether its request has arrived.
type place struct {
	conn  net.Conn
	asked bool
}

// places are the open connections, in the order of their arrival.
type places struct {
	mu   sync.Mutex
	list []*place
}

// take adds a connection. If there are too many, it closes the oldest that has not sent its request, or
// else the oldest.
func (p *places) take(conn net.Conn) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) >= maxClients {
		i := max(0, slices.IndexFunc(p.list, func(o *place) bool { return !o.asked }))
		_ = p.list[i].conn.Close()
		p.list = slices.Delete(p.list, i, i+1)
	}
	taken := &place{conn: conn}
	p.list = append(p.list, taken)
	return taken
}

// asked notes that the request has arrived.
func (p *places) asked(of *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of.asked = true
}

// leave frees the place.
func (p *places) leave(of *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.list, of); i >= 0 {
		p.list = slices.Delete(p.list, i, i+1)
	}
}

// Close ends a server whose Serve was never called.
func (s *Server) Close() { _ = s.listener.Close() }

// serve takes one request from conn, answers it, and closes conn.
func (s *Server) serve(ctx context.Context, conn net.Conn, handle Handler, asked func()) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(requestLimit))
	head, err := readHead(conn)
	if err != nil && !errors.Is(err, errTooLong) {
		return // gone, or too slow
	}
	asked()
	r := Response{Status: statusTooLong}
	var method string
	if err == nil {
		var path string
		if method, path, r.Status = parse(head, s.ours); r.Status == 0 {
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
