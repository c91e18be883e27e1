package openssh

import (
	"slices"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/services"
)

// FuzzSSHDestination: what stands for USER@THING becomes ssh's arguments so that neither ssh nor the shell, which runs
// the ProxyCommand, sees more in it than names.
func FuzzSSHDestination(f *testing.F) {
	for _, d := range []string{
		"pi-1", "admin@pi-1", "@pi-1", "a@b@c", "-oProxyCommand=x", "-l@pi", "u@-pi", "u ser@pi", "$(id)@pi", "u@pi;id", "u@pi:22", "'@pi", "u@", "",
	} {
		f.Add(d, "SSH", "eu-west-1")
	}
	f.Add("pi", "a b", "")
	f.Add("pi", "a:b", "$(id)'\"`\n%h")
	f.Fuzz(func(t *testing.T, destination, service, region string) {
		connect := []string{"/a path/culvert", "connect", "--stdio", "--region=" + region}
		args, err := Arguments(connect, Command{Destination: destination, Rest: []string{"true"}}, service, "HostKeyAlias=x")
		if err != nil {
			return
		}
		user, thing, isUser := strings.Cut(destination, "@")
		if !isUser {
			user, thing = "", destination
		}
		if !services.ValidName(thing) || strings.HasPrefix(thing, "-") || !services.ValidName(service) {
			t.Fatalf("%q, %q were accepted", destination, service)
		}
		command, isProxy := strings.CutPrefix(args[3], "ProxyCommand=")
		want := []string{"-o", "HostKeyAlias=x", "-o", args[3]}
		if user != "" {
			want = append(want, "-l", user)
		}
		if !isProxy || !slices.Equal(args, append(want, thing, "true")) {
			t.Fatalf("%q became %q", destination, args)
		}
		words, ok := shellWords(command)
		line := []string{"/a path/culvert", "connect", "--stdio", "--region=" + strings.ReplaceAll(region, "%", "%%"), "--", thing, service}
		if !ok || !slices.Equal(words, line) {
			t.Errorf("ProxyCommand %q is the words %q, want %q", command, words, line)
		}
	})
}

// shellWords takes a command line apart as a shell does whose only quotes are ' and \; false if there is anything else
// in it that a shell acts upon.
func shellWords(line string) (words []string, ok bool) {
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, false
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			inWord = true
		case c == '\\':
			if i++; i == len(line) {
				return nil, false
			}
			word.WriteByte(line[i])
			inWord = true
		case c == ' ':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		case strings.IndexByte("\t\n\r\"`$&|;<>()*?[]{}~#!", c) >= 0:
			return nil, false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, true
}
