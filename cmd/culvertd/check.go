package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/agent/check"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/configs"
	"github.com/culvert-iot/culvert/internal/hint"
)

// errUnwell means that the printed results say what is wrong.
var errUnwell = errors.New("see the results")

// check tries everything that a tunnel needs.
func (p *program) check(args []string) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", config.DefaultPath, "")
	offline := flags.Bool("offline", false, "")
	asJSON := flags.Bool("json", false, "")
	timeout := duration(check.DefaultTimeout)
	flags.Var(&timeout, "timeout", "")
	bundle := flags.String("bundle", "", "")
	log := flags.String("log", "", "")
	if done, err := p.parse(flags, args); done || err != nil {
		return err
	}
	if *log != "" && *bundle == "" {
		return hint.Wrap(&usageError{"--log is for a bundle, and there is no --bundle"}, "name the bundle's file with --bundle FILE")
	}
	cfg, err := loadOwn(*path)
	if err != nil {
		if *asJSON {
			_ = writeJSON(p.out, check.NotConfigured(*path, time.Now(), err))
		}
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var pack *pack
	if *bundle != "" {
		if pack, err = p.openPack(*bundle, *log); err != nil { // the check may take a minute
			return err
		}
	}
	report := check.Run(ctx, check.Options{Config: cfg, Offline: *offline, Timeout: time.Duration(timeout)}, func(r *check.Result) {
		if !*asJSON {
			_ = r.Write(p.out)
		}
	})
	if *asJSON {
		err = writeJSON(p.out, report)
	} else {
		_, err = fmt.Fprintf(p.out, "\n%s\n", report.Summary())
	}
	if pack != nil {
		err = errors.Join(err, p.finish(ctx, pack, cfg, report))
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return errors.New("interrupted: checks without a result count as failed")
	case !report.Well:
		return errUnwell
	}
	return nil
}

// loadOwn loads a configuration that is not the package's example any more.
func loadOwn(path string) (*config.Config, error) {
	if data, err := os.ReadFile(path); err == nil && string(data) == configs.Minimal {
		return nil, hint.Wrap(&usageError{path + " is still the example that came with the package"},
			"run "+manager().sudo()+"culvertd init: it asks for the thing's name, the endpoint and the certificate")
	}
	return config.Load(path)
}

// pack is a bundle that is being made.
type pack struct {
	out *os.File
	log io.Reader // nil for none
	end func()    // closes the log
}

// openPack creates a file for its owner alone. It never writes to an existing file or through a link.
func (p *program) openPack(path, log string) (*pack, error) {
	b := &pack{end: func() {}}
	switch log {
	case "":
	case "-":
		b.log = p.in
	default:
		in, err := os.Open(log)
		if err != nil {
			return nil, fmt.Errorf("bundle: the log: %w", err)
		}
		b.log, b.end = in, func() { _ = in.Close() }
	}
	var err error
	if b.out, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		return b, nil
	}
	b.end()
	if errors.Is(err, os.ErrExist) {
		return nil, hint.New("bundle: "+path+" already exists", "name a new file")
	}
	return nil, fmt.Errorf("bundle: %w", err)
}

// finish fills the file, or removes it.
func (p *program) finish(ctx context.Context, b *pack, cfg *config.Config, r check.Report) error {
	defer b.end()
	err := check.WriteBundle(ctx, b.out, check.Bundle{Config: cfg, Report: r, Log: b.log})
	if err = errors.Join(err, b.out.Close()); err != nil {
		_ = os.Remove(b.out.Name())
		return fmt.Errorf("bundle: %w", err)
	}
	_, err = fmt.Fprintf(p.err, "culvertd: wrote %s without keys, tokens and account numbers; look through it before you send it\n", b.out.Name())
	return err
}
