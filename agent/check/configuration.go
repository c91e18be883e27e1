package check

import "os"

// configuration tells that the file is good, which whoever made the Config found out, and what it hardly means.
func (c *checkup) configuration() []*Result {
	list := []*Result{well("config", "%s%s", c.cfg.Path, modeNote(c.cfg.Path))}
	for _, w := range c.cfg.Warnings() {
		what, remedy := splitRemedy(w)
		list = append(list, warning("config", remedy, "%s", what))
	}
	return list
}

// modeNote shows who may do what with a file, for people who compare.
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
