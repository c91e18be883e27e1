package openssh

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/services"
)

// valueOptions are ssh's options that take a value (ssh(1)).
const valueOptions = "BbcDEeFIiJLlmOoPpQRSWw"

// Command is a command line of ssh, taken apart.
type Command struct {
	Options     []string // in front of the destination
	Destination string   // [USER@]THING; "" if there is none
	Rest        []string // behind the destination: more options, and the remote command
}

// Split takes apart the arguments of a program that stands in for ssh and has long options of its own,
// which it returns as own. takesValue reports whether the long option of that name takes a value.
//
// As with ssh, everything behind the destination is ssh's; a "--" directly behind it is dropped. Long
// options directly behind the destination are the program's, because ssh has none.
func Split(args []string, takesValue func(name string) bool) (own []string, c Command) {
	long := func(i int) int { // moves a long option to own
		own = append(own, args[i])
		name, _, hasValue := strings.Cut(args[i][2:], "=")
		if !hasValue && takesValue(name) && i+1 < len(args) {
			i++
			own = append(own, args[i])
		}
		return i
	}
	i := 0
	for ; i < len(args); i++ {
		arg := args[i]
		if arg == "--" { // as scp and sftp write it
			i++
			break
		}
		if strings.HasPrefix(arg, "--") {
			i = long(i)
			continue
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		c.Options = append(c.Options, arg)
		if wantsNext(arg) && i+1 < len(args) {
			i++
			c.Options = append(c.Options, args[i])
		}
	}
	if i == len(args) {
		return own, c
	}
	c.Destination = args[i]
	for i++; i < len(args) && strings.HasPrefix(args[i], "--"); i++ {
		if args[i] == "--" {
			i++
			break
		}
		i = long(i)
	}
	c.Rest = args[min(i, len(args)):]
	return own, c
}

// wantsNext reports whether a cluster of short options ends with one whose value is the next argument.
func wantsNext(cluster string) bool {
	at := strings.IndexAny(cluster[1:], valueOptions)
	return at == len(cluster)-2
}

// Has reports whether one of the short options in letters stands in front of the destination.
func (c *Command) Has(letters string) bool {
	for i := 0; i < len(c.Options); i++ {
		cluster := c.Options[i][1:]
		if at := strings.IndexAny(cluster, valueOptions); at >= 0 {
			cluster = cluster[:at+1] // the rest is a value
		}
		if strings.ContainsAny(cluster, letters) {
			return true
		}
		if wantsNext(c.Options[i]) {
			i++
		}
	}
	return false
}

// Thing returns the destination's user, which may be empty, and thing. Nothing but names gets to ssh, or
// to the shell that runs the ProxyCommand.
func (c *Command) Thing() (user, thing string, err error) {
	user, thing, isUser := strings.Cut(c.Destination, "@")
	if !isUser {
		user, thing = "", c.Destination
	}
	if !services.ValidName(thing) || strings.HasPrefix(thing, "-") || strings.HasPrefix(c.Destination, "-") {
		err := fmt.Errorf("%q is no THING or USER@THING: a thing's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", c.Destination)
		if strings.Contains(thing, ".") {
			err = hint.Wrap(err, "give the thing's name in AWS IoT, not an address; culvert ls lists the things that exist")
		}
		return "", "", err
	}
	return user, thing, nil
}

// Arguments returns the arguments of ssh for c: how to reach the thing, settings as "Name=value", which
// may hold another ProxyCommand, and the user's own. connect is the program, with its arguments, that becomes a connection to a thing's service
// when both names are added.
func Arguments(connect []string, c Command, service string, settings ...string) ([]string, error) {
	user, thing, err := c.Thing()
	if err != nil {
		return nil, err
	}
	if !services.ValidName(service) {
		return nil, fmt.Errorf("--service %q: a service's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", service)
	}
	var args []string
	for _, s := range append(settings, "ProxyCommand="+ProxyCommand(connect, thing, service)) {
		args = append(args, "-o", s) // ssh takes the first of a name
	}
	args = append(args, c.Options...)
	if user != "" {
		args = append(args, "-l", user)
	}
	return append(append(args, thing), c.Rest...), nil
}

// ProxyCommand returns a ProxyCommand for a service of a thing. The thing may be %n, the name that the
// user typed.
func ProxyCommand(connect []string, thing, service string) string {
	words := append(append([]string{}, connect...), "--", thing, service)
	for i, w := range words {
		if w != "%n" {
			w = strings.ReplaceAll(w, "%", "%%") // ssh replaces what follows a %
		}
		words[i] = proxyQuote(w)
	}
	return strings.Join(words, " ")
}

// proxyQuote makes one word of s for the program that runs ProxyCommands: the user's shell, or ssh itself
// on Windows.
func proxyQuote(s string) string {
	if runtime.GOOS != "windows" {
		return Quote(s)
	}
	if strings.ContainsAny(s, " \t") {
		return `"` + s + `"`
	}
	return s
}

// Quote makes one word of s for a POSIX shell.
func Quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
