package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// Plain TLS is the baseline: the same hops over as many processes, a TLS connection to the relay and one from it, with
// io.Copy at each joint and neither websocket nor frames. A line in front of the bytes names the service.

// plainTLS is what its processes share.
type plainTLS struct {
	cert, key string // files
	roots     string // file
}

func (p plainTLS) server() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

func (p plainTLS) client(host string) (*tls.Config, error) {
	pem, err := os.ReadFile(p.roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", p.roots)
	}
	return &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}, nil
}

// plainDevice is the device's side: CERT KEY ADDRESS TARGETS, the last as JSON. It prints where it listens.
func plainDevice(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 4 {
		return errors.New("usage: plain-device CERT KEY ADDRESS TARGETS")
	}
	cfg, err := plainTLS{cert: args[0], key: args[1]}.server()
	if err != nil {
		return err
	}
	var targets map[string]string
	if err := json.Unmarshal([]byte(args[3]), &targets); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", args[2])
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(l.Addr().String()); err != nil {
		return err
	}
	go serve(tls.NewListener(l, cfg), func(c net.Conn) {
		service, err := readLine(c)
		if err != nil {
			return
		}
		next, err := new(net.Dialer).DialContext(ctx, "tcp", targets[service])
		if err != nil {
			return
		}
		join(c, next)
	})
	<-ctx.Done()
	return nil
}

// plainSource is the operator's side: ROOTS RELAY. It prints a port for each service.
func plainSource(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: plain-source ROOTS RELAY")
	}
	host, _, err := net.SplitHostPort(args[1])
	if err != nil {
		return err
	}
	cfg, err := plainTLS{roots: args[0]}.client(host)
	if err != nil {
		return err
	}
	ports := map[string]string{}
	for _, service := range services {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		ports[service] = l.Addr().String()
		go serve(l, func(c net.Conn) {
			next, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", args[1])
			if err != nil {
				return
			}
			if _, err := io.WriteString(next, service+"\n"); err != nil {
				return
			}
			join(c, next)
		})
	}
	if err := json.NewEncoder(out).Encode(ports); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// plainRelay is the part of the relay's process: what comes to the listener goes on to the device.
func plainRelay(ctx context.Context, l net.Listener, files plainTLS, device string) error {
	in, err := files.server()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(device)
	if err != nil {
		return err
	}
	onward, err := files.client(host)
	if err != nil {
		return err
	}
	go serve(tls.NewListener(l, in), func(c net.Conn) {
		next, err := (&tls.Dialer{Config: onward}).DialContext(ctx, "tcp", device)
		if err != nil {
			return
		}
		join(c, next)
	})
	return nil
}

// readLine reads a short line byte by byte, so that nothing behind it is taken.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < 128 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", errors.New("no line")
}

// join copies both ways until one of them ends.
func join(c, next net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(next, c); _ = next.Close() })
	both.Go(func() { _, _ = io.Copy(c, next); _ = c.Close() })
	both.Wait()
}
