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

	"github.com/culvert-iot/culvert/internal/hint"
)

// Call sends one request to the daemon that listens on path and unmarshals its result into result, which
// may be nil. The errors carry hints, or are the daemon's own words.
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
		return fmt.Errorf("what answers on %s is not culvertd: %w", path, err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return hint.Wrap(fmt.Errorf("culvertd on %s answers in an unknown form: %w", path, err), "it may be of another version: restart it after an upgrade")
	}
	return nil
}

func unreachable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return hint.Wrap(fmt.Errorf("no culvertd answers on %s: %w", path, err), "start it (sudo systemctl start culvertd), or name its configuration with --config FILE")
	case errors.Is(err, fs.ErrPermission):
		return hint.Wrap(fmt.Errorf("this user may not talk to culvertd on %s: %w", path, err), "use root or culvertd's user")
	}
	return fmt.Errorf("connect to culvertd on %s: %w", path, err)
}

func broken(ctx context.Context, path string, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hint.Wrap(fmt.Errorf("culvertd on %s does not answer: %w", path, err), "it hangs or the machine is overloaded")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return hint.Wrap(fmt.Errorf("culvertd on %s ended while it was asked: %w", path, err), "try again")
	}
	return fmt.Errorf("talk to culvertd on %s: %w", path, err)
}
