// Command culvertd makes a device reachable through AWS IoT Secure Tunneling: it waits for notifications
// over MQTT and serves the tunnels that they open.
//
// This package parses arguments, reads the configuration and talks to systemd. Package agent does the work.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/version"
)

// Exit codes.
const (
	exitOK     = 0 // ended on request
	exitFailed = 1 // failed while running
	exitUsage  = 2 // wrong usage or configuration
)

const usage = `Usage: culvertd [COMMAND] [OPTIONS]

culvertd makes this device reachable through AWS IoT Secure Tunneling.

Commands:
  run       serve tunnels until SIGTERM or SIGINT (the default)
  status    show what a running culvertd does: --json, --watch
  notify    hand a notification (JSON on standard input) to a running culvertd
  init      write a first configuration, check it and start the service; asks, or
            takes --bundle FILE of culvert setup-thing, or --thing NAME
            --endpoint HOST --cert FILE --key FILE [--ca FILE]
            [--service NAME=ADDRESS]...; --force, --offline, --no-start
  check     try everything that a tunnel will need, and say what to fix:
            --offline, --json, --timeout DURATION, --bundle FILE, --log FILE
  version   show version, commit, Go version and platform: --json
  help      show this

Options:
  --config FILE    the configuration (default ` + config.DefaultPath + `)
  --socket PATH    of status and notify: the control socket, without reading FILE

Signals: SIGHUP reads the configuration again, SIGTERM and SIGINT end culvertd.
Exit codes: 0 ended on request, 1 failed, 2 wrong usage or configuration.
`

// usageError is an error of whoever wrote the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// program is one run of the command: its streams, so that tests can stand in for them.
type program struct {
	in       io.Reader
	out, err io.Writer
}

func main() { os.Exit((&program{os.Stdin, os.Stdout, os.Stderr}).main(os.Args[1:])) }

func (p *program) main(args []string) int {
	err := p.dispatch(args)
	var wrongUsage *usageError
	var wrongConfig *config.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrongUsage):
		_, _ = fmt.Fprintf(p.err, "culvertd: %v\n  hint: culvertd help lists commands and options\n", err)
		return exitUsage
	case errors.As(err, &wrongConfig):
		_, _ = fmt.Fprintf(p.err, "%v\n", err)
		return exitUsage
	case errors.Is(err, errLogged), errors.Is(err, errUnwell):
		return exitFailed
	default:
		_, _ = fmt.Fprintf(p.err, "culvertd: %v\n", err)
		return exitFailed
	}
}

// commands are what may stand first.
func (p *program) commands() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"run": p.run, "status": p.status, "notify": p.notify, "check": p.check, "init": p.init, "version": p.version,
		"help": func([]string) error {
			_, err := io.WriteString(p.out, usage)
			return err
		},
	}
}

func (p *program) dispatch(args []string) error {
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	command := p.commands()[name]
	if command == nil {
		return &usageError{fmt.Sprintf("there is no command %q", name)}
	}
	return command(args)
}

// parse reads a command's options. done says that help was asked for and given.
func (p *program) parse(flags *flag.FlagSet, args []string) (done bool, err error) {
	flags.SetOutput(io.Discard)
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(p.out, usage)
		return true, err
	case err != nil:
		return false, &usageError{err.Error()}
	case flags.NArg() > 0 && flags.Name() == "run" && p.commands()[flags.Arg(0)] != nil:
		options := slices.Concat(args[:len(args)-flags.NArg()], flags.Args()[1:])
		return false, &usageError{fmt.Sprintf("the command comes before its options: culvertd %s %s", flags.Arg(0), strings.Join(options, " "))}
	case flags.NArg() > 0:
		return false, &usageError{fmt.Sprintf("%s takes no argument %q", flags.Name(), flags.Arg(0))}
	}
	return false, nil
}

func (p *program) version(args []string) error {
	flags := flag.NewFlagSet("version", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	if done, err := p.parse(flags, args); done || err != nil {
		return err
	}
	if *asJSON {
		return writeJSON(p.out, version.Get())
	}
	_, err := fmt.Fprintln(p.out, "culvertd", version.Get())
	return err
}

func writeJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}
