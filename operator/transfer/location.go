package transfer

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// Location is one argument of a copy: a path here, or on a host.
type Location struct {
	User string // "" is the user that ssh chooses
	Host string // "" is this machine
	Path string // on a host, relative to the user's home unless it is absolute; "" is the home itself
}

// IsRemote reports whether the location is on a host.
func (l Location) IsRemote() bool { return l.Host != "" }

// Destination is USER@HOST or HOST.
func (l Location) Destination() string {
	if l.User == "" {
		return l.Host
	}
	return l.User + "@" + l.Host
}

// String is the location as [Parse] takes it.
func (l Location) String() string {
	if !l.IsRemote() {
		return l.Path
	}
	host := l.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if l.User != "" {
		host = l.User + "@" + host
	}
	return host + ":" + l.Path
}

// Parse reads [USER@]HOST:PATH or a local path, as scp does: an argument is remote if it has a colon in front of its first
// slash. A host whose name has colons is written in brackets, and a local path with a colon as ./PATH. On Windows
// a single letter and a colon is a drive.
func Parse(arg string) (Location, error) {
	if arg == "" {
		return Location{}, errors.New("a path is empty; . is this directory, and THING: the home directory on the thing")
	}
	if strings.ContainsRune(arg, 0) {
		return Location{}, errors.New("a path holds a NUL")
	}
	user, host, hasUser := strings.Cut(arg, "@")
	if !hasUser || strings.ContainsAny(user, ":/[") {
		user, host, hasUser = "", arg, false
	}
	var rest string
	if strings.HasPrefix(host, "[") {
		end := strings.Index(host, "]:")
		if end < 0 || strings.Contains(host[:end], "/") {
			return Location{Path: arg}, nil
		}
		host, rest = host[1:end], host[end+2:]
	} else {
		colon := strings.IndexByte(host, ':')
		slash := strings.IndexByte(host, '/')
		if colon < 0 || slash >= 0 && slash < colon || isDrive(arg, colon) {
			return Location{Path: arg}, nil
		}
		host, rest = host[:colon], host[colon+1:]
	}
	if host == "" {
		return Location{}, fmt.Errorf("%q names no thing in front of its colon; a local path with a colon is written ./%s", arg, arg)
	}
	if strings.ContainsAny(host, "@[]/") {
		return Location{}, fmt.Errorf("%q: no thing has the name %q; a local path with a colon is written ./%s", arg, host, arg)
	}
	if hasUser && (user == "" || strings.HasPrefix(user, "-") || strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == '"' })) {
		return Location{}, fmt.Errorf("%q: no user has the name %q", arg, user)
	}
	l := Location{User: user, Host: host, Path: rest}
	switch {
	case rest == "~":
		l.Path = ""
	case strings.HasPrefix(rest, "~/"):
		l.Path = strings.TrimLeft(rest[2:], "/")
	case strings.HasPrefix(rest, "~"):
		return Location{}, fmt.Errorf("%q: another user's home cannot be looked up; write its path, or ./%s for a file of that name", arg, rest)
	}
	return l, nil
}

func isDrive(arg string, colon int) bool {
	return runtime.GOOS == "windows" && colon == 1 && (arg[0]|0x20 >= 'a' && arg[0]|0x20 <= 'z')
}
