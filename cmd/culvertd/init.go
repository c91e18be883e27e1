package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-iot/culvert/agent/check"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/hint"
)

// setting holds what init gets from flags, answers or a bundle.
type setting struct {
	path                           string // of the configuration
	thing, endpoint, cert, key, ca string
	bundle                         string
	services                       repeated
	force, offline, noStart        bool
}

// repeated is a flag NAME=ADDRESS that may be given more than once.
type repeated []string

func (l *repeated) String() string { return strings.Join(*l, " ") }

func (l *repeated) Set(s string) error {
	if !strings.Contains(s, "=") {
		form := strings.Replace(s, ":", "=", 1) // it may be SSH:22
		if form == s {
			form = "SSH=22"
		}
		return fmt.Errorf(meant, " init --service "+form)
	}
	*l = append(*l, s)
	return nil
}

// init sets up a device: it writes a minimal configuration, checks it and starts the service.
func (p *program) init(args []string) error {
	flags := flag.NewFlagSet("init", flag.ContinueOnError)
	var s setting
	for name, to := range map[string]*string{
		"thing": &s.thing, "endpoint": &s.endpoint, "cert": &s.cert, "key": &s.key, "ca": &s.ca, "bundle": &s.bundle,
	} {
		flags.StringVar(to, name, "", "")
	}
	flags.StringVar(&s.path, "config", config.DefaultPath, "")
	flags.Var(&s.services, "service", "")
	flags.BoolVar(&s.force, "force", false, "")
	flags.BoolVar(&s.offline, "offline", false, "")
	flags.BoolVar(&s.noStart, "no-start", false, "")
	if done, err := p.parse(flags, args); done || err != nil {
		return err
	}
	if s.bundle != "" && s.thing+s.endpoint+s.cert+s.key+s.ca+s.services.String() != "" {
		return hint.Wrap(&usageError{"a --bundle has everything in it"}, "only --config, --force, --offline and --no-start go with --bundle")
	}
	abs, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	s.path = abs
	if err := s.mayWrite(); err != nil {
		return err
	}
	files, err := p.gather(&s)
	if err != nil {
		return err
	}
	if err := p.write(&s, files); err != nil {
		return err
	}
	// Bad files should show here, not in a daemon that fails at its start.
	if err := p.checkFiles(s.path); err != nil {
		return p.notYet(&s, err)
	}
	started, err := p.start(&s)
	if err != nil || !started || s.offline {
		return err
	}
	if err := p.say("", "Checking what a tunnel needs of the network:"); err != nil {
		return err
	}
	if err := p.check([]string{"--config", s.path}); err != nil {
		return p.notYet(&s, err)
	}
	return nil
}

// checkFiles runs the part of check that looks at files only.
func (p *program) checkFiles(path string) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	report := check.Run(context.Background(), check.Options{Config: cfg, Offline: true, Files: true}, func(r *check.Result) { _ = r.Write(p.out) })
	if err := p.say("", report.Summary()); err != nil {
		return err
	}
	if !report.Well {
		return errUnwell
	}
	return nil
}

// notYet says how to go on after the check failed. The configuration stays as it is.
func (p *program) notYet(s *setting, err error) error {
	if errors.Is(err, errUnwell) {
		file := ""
		if s.path != config.DefaultPath {
			file = " --config " + s.path
		}
		_, _ = fmt.Fprintf(p.err, "culvertd: fix the items marked ✗, then check again: culvertd check%s\n", file)
		if s.managed() {
			_, _ = fmt.Fprintln(p.err, "culvertd: then start the service: "+strings.Join(manager().commands("restart"), " && "))
		}
	}
	return err
}

// say prints lines.
func (p *program) say(lines ...string) error {
	_, err := fmt.Fprintln(p.out, strings.Join(lines, "\n"))
	return err
}

// gather reads the files to write: from the bundle, or from where flags and answers say.
func (p *program) gather(s *setting) ([]initFile, error) {
	if s.bundle != "" {
		return readBundle(s.bundle)
	}
	if err := p.ask(s); err != nil {
		return nil, err
	}
	var files []initFile
	for _, f := range []struct {
		flag, name string
		from       *string
	}{{"cert", certificateFile, &s.cert}, {"key", keyFile, &s.key}, {"ca", rootsFile, &s.ca}} {
		if *f.from == "" || isReference(*f.from) {
			continue
		}
		data, err := os.ReadFile(*f.from)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", f.flag, err)
		}
		if abs, err := filepath.Abs(*f.from); err == nil && filepath.Dir(abs) == filepath.Dir(s.path) {
			*f.from = filepath.Base(abs) // already in place
			continue
		}
		// The daemon may have no access to where it is now, perhaps a home directory.
		files = append(files, initFile{f.name, data})
		*f.from = f.name
	}
	return append(files, initFile{configFile, []byte(s.text())}), nil
}

// isReference reports whether a key is not a file: "credential:NAME", "tpm:HANDLE".
func isReference(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	return found && !strings.Contains(scheme, "/")
}

// text is the minimal configuration.
func (s *setting) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by culvertd init. culvertd.toml(5) explains every key.\n\nthing_name = %q\n\n[mqtt]\nendpoint  = %q\n", s.thing, s.endpoint)
	if s.ca != "" {
		fmt.Fprintf(&b, "ca_file   = %q\n", s.ca)
	}
	fmt.Fprintf(&b, "cert_file = %q\nkey_file  = %q\n\n[services]\n", s.cert, s.key)
	services := s.services
	if len(services) == 0 {
		services = repeated{"SSH=22"}
	}
	for _, service := range services {
		name, address, _ := strings.Cut(service, "=")
		if address == "" || strings.Trim(address, "0123456789") != "" {
			address = fmt.Sprintf("%q", address)
		}
		fmt.Fprintf(&b, "%q = %s\n", name, address)
	}
	return b.String()
}
