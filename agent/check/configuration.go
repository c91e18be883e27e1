package check

import (
	"os"

	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/internal/hint"
)

// configuration reports the file, which the caller has parsed, and what in it is probably not intended.
func (c *checkup) configuration() []*Result {
	list := []*Result{well("config", "%s%s", c.cfg.Path, modeNote(c.cfg.Path))}
	for _, w := range c.cfg.Warnings() {
		list = append(list, warning("config", hint.Of(w), "%v", w))
	}
	if command := c.cfg.Hooks.Command; len(command) > 0 {
		if problem := hook.Problem(command[0]); problem != "" {
			list = append(list, warning("config", problem, "hooks.command: %s cannot start", command[0]))
		}
	}
	return list
}

// modeNote shows a file's mode.
func modeNote(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return ", mode " + octal(info.Mode())
}

func octal(m os.FileMode) string {
	const digits = "01234567"
	p := m.Perm()
	return string([]byte{'0', digits[p>>6&7], digits[p>>3&7], digits[p&7]})
}
