package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// account is a user with its groups.
type account struct {
	name   string // "uid 999" if the system has no name for it
	uid    int
	groups []int
}

// accountOf finds a user in /etc/passwd and /etc/group. It returns nil if there is none, as for
// systemd's dynamic users.
func (c *checkup) accountOf(user string) *account {
	a := &account{name: user, uid: -1}
	for fields := range c.table("/etc/passwd", 4) {
		if fields[0] == user || fields[2] == user {
			uid, uerr := strconv.Atoi(fields[2])
			gid, gerr := strconv.Atoi(fields[3])
			if uerr == nil && gerr == nil {
				a.uid, a.groups = uid, []int{gid}
				break
			}
		}
	}
	if a.uid < 0 {
		return nil
	}
	for fields := range c.table("/etc/group", 4) {
		if gid, err := strconv.Atoi(fields[2]); err == nil && slices.Contains(strings.Split(fields[3], ","), user) {
			a.groups = append(a.groups, gid)
		}
	}
	return a
}

// table yields the lines of an a:b:c file with at least so many fields.
func (c *checkup) table(path string, fields int) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		data, _ := os.ReadFile(c.at(path))
		for line := range strings.Lines(string(data)) {
			if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= fields && !yield(f) {
				return
			}
		}
	}
}

// processAccount returns the user of a process, from /proc.
func (c *checkup) processAccount(pid int) *account {
	data, err := os.ReadFile(c.at(fmt.Sprintf("/proc/%d/status", pid)))
	if err != nil {
		return nil
	}
	a := &account{uid: -1}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch numbers := atois(fields[1:]); fields[0] {
		case "Uid:":
			if len(numbers) > 1 {
				a.uid = numbers[1] // the effective one
			}
		case "Gid:":
			if len(numbers) > 1 {
				a.groups = append(a.groups, numbers[1])
			}
		case "Groups:":
			a.groups = append(a.groups, numbers...)
		}
	}
	if a.uid < 0 {
		return nil
	}
	a.name = "uid " + strconv.Itoa(a.uid)
	for fields := range c.table("/etc/passwd", 4) {
		if fields[2] == strconv.Itoa(a.uid) {
			a.name = fields[0]
		}
	}
	return a
}

func atois(texts []string) []int {
	var list []int
	for _, t := range texts {
		if n, err := strconv.Atoi(t); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// at returns where a path of the system really is; tests replace the root.
func (c *checkup) at(path string) string { return filepath.Join("/", c.Root, path) }

// The bits of a permission.
const (
	mayRead   = 4
	mayWrite  = 2
	mayEnter  = 1
	superuser = 0
)

// readable reports whether the daemon's user may read a file. It judges only when root asks for
// another user: otherwise the file has just been read.
func (c *checkup) readable(id, path string) (*Result, bool) {
	if c.user == nil || c.user.uid == superuser || c.EUID() != superuser {
		return nil, true
	}
	if at, ok := c.user.reach(path, mayRead); !ok {
		return failed(id, fmt.Sprintf("give it access: chgrp and chmod %s, or chown %s %s", permission(at == path), c.user.name, at),
			"%s, which runs the daemon, may not use %s", c.user.name, describe(at)), false
	}
	return nil, true
}

func permission(file bool) string {
	if file {
		return "g+r"
	}
	return "g+x"
}

func describe(path string) string {
	return path + " (" + strings.TrimPrefix(modeNote(path), ", ") + ")"
}

// reach reports whether the modes of path and its directories permit access; at is where they do not.
// It ignores access control lists.
func (a *account) reach(path string, want os.FileMode) (at string, ok bool) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path, false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if !a.may(dir, mayEnter) {
			return dir, false
		}
		if dir == filepath.Dir(dir) {
			return path, a.may(path, want)
		}
	}
}

// may reports whether one file's mode permits access.
func (a *account) may(path string, want os.FileMode) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	uid, gid, known := owner(info)
	mode := info.Mode().Perm()
	switch {
	case !known || a.uid == superuser:
		return true
	case uid == a.uid:
		mode >>= 6
	case slices.Contains(a.groups, gid):
		mode >>= 3
	}
	return mode&want == want
}
