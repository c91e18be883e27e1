package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// account is a user of the system with its groups.
type account struct {
	name   string // "uid 999" if the system has no name for it
	uid    int
	groups []int
}

// accountOf finds a user of /etc/passwd and /etc/group; nil if there is none, as for systemd's dynamic users.
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

// table gives the lines of a file of the form a:b:c that have so many fields.
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

// processAccount is who a process runs as, from /proc.
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

// at is where a path of the system is looked for.
func (c *checkup) at(path string) string { return filepath.Join("/", c.Root, path) }

// The bits of a permission.
const (
	mayRead   = 4
	mayWrite  = 2
	mayEnter  = 1
	superuser = 0
)

// readable tells whether the daemon's user may read a file. It only has an opinion when root asks for another user:
// for anybody else the file was just read, or was not.
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

// reach walks to a path by the modes of its directories and its own; at is where the walk ends. Access lists are not
// looked at.
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

// may looks at one file's mode.
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
