package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// Call sends one request to the daemon that listens on path and unmarshals its result into result, which
// may be nil. The errors say what to do, or are the daemon's own words.
func Call(ctx context.Context, path string, r Request, result any) error {
	if len(r.Payload) > MaxPayload {
		return fmt.Errorf("the payload has %d bytes, more than %d", len(r.Payload), MaxPayload)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return unreachable(path, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(2 * timeout))
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return broken(ctx, path, err)
	}
	line, err = readLine(conn, maxAnswer)
	if err != nil {
		return broken(ctx, path, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("what answers on %s is no culvertd: %w", path, err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("culvertd on %s answers in a form that this one does not know, is it of another version? %w", path, err)
	}
	return nil
}

func unreachable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no culvertd answers on %s: start it, or name its configuration or socket: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not talk to culvertd on %s: use root or culvertd's user: %w", path, err)
	}
	return fmt.Errorf("connect to culvertd on %s: %w", path, err)
}

func broken(ctx context.Context, path string, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("culvertd on %s does not answer: it hangs or the machine is overloaded: %w", path, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("culvertd on %s ended while it was asked: try again: %w", path, err)
	}
	return fmt.Errorf("talk to culvertd on %s: %w", path, err)
}
