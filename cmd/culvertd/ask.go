package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/terminal"
)

// target holds the options that say which daemon is meant.
type target struct{ config, socket string }

func (t *target) register(flags *flag.FlagSet) {
	flags.StringVar(&t.config, "config", "", "")
	flags.StringVar(&t.socket, "socket", "", "")
}

// path finds the control socket. Where nothing is said and no configuration lies at the usual place, it is
// the usual one.
func (t *target) path() (string, error) {
	if t.socket != "" {
		if t.config != "" {
			return "", &usageError{"--config and --socket exclude each other"}
		}
		return t.socket, nil
	}
	path := t.config
	if path == "" {
		path = config.DefaultPath
	}
	cfg, err := config.Load(path)
	if t.config == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return config.DefaultControlSocket, nil
	}
	if err != nil {
		return "", err
	}
	if cfg.Control.Socket == "" {
		return "", hint.New(path+" switches the control socket off", "set control.socket and restart culvertd")
	}
	return cfg.Control.Socket, nil
}

// status shows what a running daemon tells.
func (p *program) status(args []string) error {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	var t target
	t.register(flags)
	asJSON := flags.Bool("json", false, "")
	watch := flags.Bool("watch", false, "")
	if done, err := p.parse(flags, args); done || err != nil {
		return err
	}
	path, err := t.path()
	if err != nil {
		return err
	}
	show := p.showTable
	if *asJSON {
		show = p.showJSON
	}
	if !*watch {
		return show(context.Background(), path, p.out)
	}
	return p.watch(func(ctx context.Context, w io.Writer) error { return show(ctx, path, w) }, !*asJSON)
}

func (p *program) showTable(ctx context.Context, path string, w io.Writer) error {
	var s agent.Status
	if err := control.Call(ctx, path, control.Request{Command: control.Status}, &s); err != nil {
		return err
	}
	text := table(s)
	if terminal.Animated(p.out) {
		text = coloured(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

// showJSON passes on all that the daemon says, also what this version does not know.
func (p *program) showJSON(ctx context.Context, path string, w io.Writer) error {
	var s json.RawMessage
	if err := control.Call(ctx, path, control.Request{Command: control.Status}, &s); err != nil {
		return err
	}
	return writeJSON(w, s)
}

// notify hands over a notification that another MQTT client has received.
func (p *program) notify(args []string) error {
	flags := flag.NewFlagSet("notify", flag.ContinueOnError)
	var t target
	t.register(flags)
	if done, err := p.parse(flags, args); done || err != nil {
		return err
	}
	if terminal.Is(p.in) {
		_, _ = fmt.Fprintln(p.err, "culvertd: waiting for the notification's JSON on standard input")
	}
	payload, err := io.ReadAll(io.LimitReader(p.in, control.MaxPayload+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the notification from standard input: %w", err)
	case len(payload) == 0:
		return hint.New("standard input is empty", "write the payload of the MQTT message to it, as in: culvertd notify <notification.json")
	case len(payload) > control.MaxPayload:
		return hint.Wrap(fmt.Errorf("the notification has more than %d bytes", control.MaxPayload), "write the payload of one MQTT message to standard input")
	}
	path, err := t.path()
	if err != nil {
		return err
	}
	var o session.Outcome
	if err := control.Call(context.Background(), path, control.Request{Command: control.Notify, Payload: payload}, &o); err != nil {
		return fmt.Errorf("the notification was not taken: %w", err)
	}
	text := "accepted"
	if o.Result == session.Known {
		text = "known already, nothing changes"
	}
	_, err = fmt.Fprintf(p.out, "session %s: %s\n", o.Session, text)
	return err
}
