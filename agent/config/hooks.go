package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/internal/suggest"
)

// hookCommand reads a program and its arguments. There is no shell, unless the program is one: what comes
// from a tunnel must not be able to become a command.
func (d *decoder) hookCommand(n *node) {
	if n.kind == stringKind {
		d.want(n, listKind, fmt.Sprintf("write the program and its arguments as a list: [%q]", n.text))
		return
	}
	if !d.want(n, listKind, `write a list, as in ["/usr/lib/culvert/hook"]`) {
		return
	}
	var command []string
	for c, s := range d.texts(n) {
		switch {
		case strings.ContainsFunc(s, func(r rune) bool { return r == 0 }):
			d.doc.problem(c.value, "remove it", "hooks.command: %q has a zero character", s)
		case len(command) == 0 && !filepath.IsAbs(s):
			d.doc.problem(c.value, "write the program's whole path: PATH is not searched", "hooks.command: %q is not an absolute path", s)
		}
		command = append(command, s)
	}
	d.cfg.Hooks.Command = command
}

func (d *decoder) hookTimeout(n *node) {
	d.positive(n, &d.cfg.Hooks.Timeout, "10s", "nothing runs in no time")
}

func (d *decoder) hookEvents(n *node) {
	if n.kind == stringKind {
		d.want(n, listKind, fmt.Sprintf("write [%q]", n.text))
		return
	}
	if !d.want(n, listKind, `write a list, as in ["tunnel_opened", "tunnel_closed"]`) {
		return
	}
	var list []string
	for c, s := range d.texts(n) {
		if !slices.Contains(HookEvents, s) {
			hint := "the events are " + strings.Join(HookEvents, ", ")
			if guess := suggest.Nearest(s, HookEvents); guess != "" {
				hint = fmt.Sprintf("did you mean %q? %s", guess, hint)
			}
			d.doc.problem(c.value, hint, "hooks.events: %q is unknown", s)
			continue
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	d.cfg.Hooks.Events = list
}
