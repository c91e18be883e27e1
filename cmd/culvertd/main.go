package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/suggest"
	"github.com/culvert-iot/culvert/internal/version"
)

// Exit codes.
const (
	exitOK     = 0 // ended on request
	exitFailed = 1 // failed while running
	exitUsage  = 2 // wrong usage or configuration
)

// usageError is a mistake in the command line.
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
	_, wrongUsage := errors.AsType[*usageError](err)
	_, wrongConfig := errors.AsType[*config.Error](err)
	switch {
	case err == nil:
		return exitOK
	case wrongUsage:
		if hint.Of(err) == "" {
			err = hint.Wrap(err, "culvertd help lists commands and options")
		}
		hint.Print(p.err, err)
		return exitUsage
	case wrongConfig:
		_, _ = fmt.Fprintln(p.err, config.Report(err)) // begins with file:line:column
		return exitUsage
	case errors.Is(err, errLogged), errors.Is(err, errUnwell):
		return exitFailed
	default:
		hint.Print(p.err, err)
		return exitFailed
	}
}

// commands are the names that may come first.
func (p *program) commands() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"run": p.run, "status": p.status, "notify": p.notify, "check": p.check, "init": p.init, "version": p.version, "help": p.help,
	}
}

func (p *program) dispatch(args []string) error {
	name := "run"
	if len(args) > 0 {
		switch first := args[0]; {
		case first == "--version" || first == "-version" || first == "-v":
			name, args = "version", args[1:]
		case first == "--help" || first == "-help" || first == "-h":
			name, args = "help", args[1:]
		case !strings.HasPrefix(first, "-"):
			name, args = first, args[1:]
		}
	}
	command := p.commands()[name]
	if command == nil {
		return p.unknownCommand(name)
	}
	if len(args) > 0 && (args[0] == "--version" || args[0] == "-version") { // as with culvert's commands
		command, args = p.version, args[1:]
	}
	return command(args)
}

func (p *program) unknownCommand(name string) error {
	names := slices.Sorted(maps.Keys(p.commands()))
	advice := "the commands are " + strings.Join(names, ", ")
	if strings.ContainsAny(name, "./") { // a file without its option
		advice = fmt.Sprintf(meant, fileOption("", name))
	} else if slices.Contains([]string{"start", "stop", "restart", "reload"}, name) {
		m := manager()
		advice = "the system does that: " + m.sudo() + fmt.Sprintf(cmp.Or(m.verb, "systemctl %s culvertd"), name)
	} else if guess := suggest.Nearest(name, names); guess != "" {
		advice = fmt.Sprintf(meant, " "+guess)
	} else if slices.Contains([]string{"connect", "ssh", "demo", "sandbox", "proxy"}, name) {
		advice = "culvert " + name + " is a command of the operator's program, culvert"
	}
	return hint.Wrap(&usageError{fmt.Sprintf("there is no command %q", name)}, advice)
}

// meant asks whether the rest of the command line should have been another.
const meant = "did you mean culvertd%s?"

// fileOption is the command line that reads a file whose option was left out. command is "" if that was left out, too.
func fileOption(command, path string) string {
	switch end := filepath.Ext(path); {
	case end == ".toml":
	case command == "init", command == "" && end == ".tar":
		return " init --bundle " + path
	case command == "notify", command == "" && end == ".json":
		return " notify <" + path
	}
	return strings.TrimSuffix(" "+command, " ") + " --config " + path
}

// parse reads a command's options. done reports that help was asked for and shown.
func (p *program) parse(flags *flag.FlagSet, args []string) (done bool, err error) {
	flags.SetOutput(io.Discard)
	err = flags.Parse(args)
	read := args[:len(args)-flags.NArg()]
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(p.out, commandHelp[flags.Name()])
		return true, err
	case (err != nil || flags.NArg() > 0) && flags.Name() == "run" && p.command(args) >= 0:
		i := p.command(args)
		order := append([]string{args[i]}, slices.Delete(slices.Clone(args), i, i+1)...)
		return false, &usageError{"the command comes before its options: culvertd " + strings.Join(order, " ")}
	case err != nil:
		return false, wrongOption(flags, read[len(read)-1], err)
	case flags.NArg() > 0:
		advice := optionsHint(flags)
		if strings.ContainsAny(flags.Arg(0), "./") && flags.Lookup("config") != nil { // as in unknownCommand
			advice = fmt.Sprintf(meant, fileOption(flags.Name(), flags.Arg(0)))
		} else if flags.Lookup("watch") != nil && strings.Trim(flags.Arg(0), "0123456789") == "" { // as watch(1) has it
			advice = "--watch takes no number: it shows the state every 2 seconds"
		}
		return false, hint.Wrap(&usageError{fmt.Sprintf("%s takes no argument %q", flags.Name(), flags.Arg(0))}, advice)
	}
	return false, nil
}

// command finds a command's name among options; -1 if there is none.
func (p *program) command(args []string) int {
	return slices.IndexFunc(args, func(arg string) bool { return p.commands()[arg] != nil })
}

// wrongOption explains err, which package flag returned after it had read arg.
func wrongOption(flags *flag.FlagSet, arg string, err error) error {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if !strings.HasPrefix(arg, "-") || flags.Lookup(name) != nil {
		// It writes options with a single dash.
		text := strings.NewReplacer("flag -", "--", "argument: -", "argument: --", "for -", "for --").Replace(err.Error())
		return hint.Wrap(&usageError{flags.Name() + ": " + text}, optionsHint(flags))
	}
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	advice, dashes := optionsHint(flags), "--"
	guess := suggest.Nearest(name, names)
	if len(name) == 1 { // a short form: culvertd has none
		dashes = "-"
		if strings.EqualFold(name, "v") {
			guess = "version"
		} else if i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, name) }); i >= 0 {
			guess = names[i]
		}
	}
	if guess != "" {
		advice = fmt.Sprintf("did you mean --%s? %s", guess, advice)
	}
	return hint.Wrap(&usageError{fmt.Sprintf("culvertd %s has no option %s%s", flags.Name(), dashes, name)}, advice)
}

func optionsHint(flags *flag.FlagSet) string {
	return fmt.Sprintf("culvertd %s --help lists its options", flags.Name())
}

// duration is a flag's value that says what is wrong with one.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

// Set parses a duration above zero, such as 30s.
func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	switch {
	case err != nil && strings.Trim(s, "0123456789.") == "" && s != "":
		return fmt.Errorf("the unit is missing: write %ss for seconds", s)
	case err != nil:
		return errors.New("write a number and a unit, such as 30s or 2m")
	case v <= 0:
		return errors.New("it must be more than zero, such as 30s")
	}
	*d = duration(v)
	return nil
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
	_, err = fmt.Fprintf(w, "%s\n", clean.JSON(data))
	return err
}
