// Package openssh writes what OpenSSH's client is told: its arguments and its ProxyCommand. It knows neither how a thing
// is reached nor how the program that reaches it takes its options.
package openssh

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/services"
)

// Arguments are ssh's for [USER@]THING: how to reach the thing, whom to log in as, and the user's own. Connect is the
// program, and its arguments, that becomes a connection when the thing and the service are added. An error says what
// cannot be a name; nothing else than names gets to ssh, or to the shell that runs the ProxyCommand.
func Arguments(connect []string, destination, service string, rest []string) ([]string, error) {
	user, thing, isUser := strings.Cut(destination, "@")
	if !isUser {
		user, thing = "", destination
	}
	if !services.ValidName(thing) || strings.HasPrefix(thing, "-") || strings.HasPrefix(destination, "-") {
		return nil, fmt.Errorf("%q is no THING or USER@THING: a thing's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", destination)
	}
	if !services.ValidName(service) {
		return nil, fmt.Errorf("--service %q: a service's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", service)
	}
	args := []string{"-o", "ProxyCommand=" + ProxyCommand(connect, thing, service), "-o", "HostKeyAlias=" + thing}
	if user != "" {
		args = append(args, "-l", user)
	}
	return append(append(args, thing), rest...), nil
}

// ProxyCommand is a ProxyCommand for a service of a thing. The thing may be %n, which is what was typed.
func ProxyCommand(connect []string, thing, service string) string {
	words := append(append([]string{}, connect...), "--", thing, service)
	for i, w := range words {
		if w != "%n" {
			w = strings.ReplaceAll(w, "%", "%%") // ssh puts names in where % stands
		}
		words[i] = proxyQuote(w)
	}
	return strings.Join(words, " ")
}

// proxyQuote makes one word of s for whoever runs ProxyCommands: the user's shell, or on Windows ssh itself.
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
