package config

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/suggest"
)

// want reports a value of the wrong type.
func (d *decoder) want(n *node, k kind, hint string) bool {
	if n.kind == k {
		return true
	}
	d.doc.problem(n.value, hint, "%s: expected %s, found %s", n.path, k, n.kind)
	return false
}

// str reads a text.
func (d *decoder) str(n *node) (string, bool) {
	hint := "write one text, in double quotes"
	switch n.kind {
	case integerKind, floatKind, boolKind, dateKind:
		hint = fmt.Sprintf("write it in quotes: %q", n.text)
	default:
	}
	return n.text, d.want(n, stringKind, hint)
}

func (d *decoder) boolean(n *node, to *bool) {
	hint := "write true or false, without quotes"
	if d.want(n, boolKind, hint) {
		*to = n.text == "true"
	}
}

// integer reads a number from low to high.
func (d *decoder) integer(n *node, to *int, low, high int) {
	hint := fmt.Sprintf("write %d to %d, without quotes", low, high)
	if n.kind == stringKind && isNumber(n.text) {
		hint = "write it without quotes: " + n.text
	}
	if !d.want(n, integerKind, hint) {
		return
	}
	v, ok := wholeNumber(n)
	if !ok || v < low || v > high {
		d.doc.problem(n.value, fmt.Sprintf("write %d to %d", low, high), "%s: %s is out of range", n.path, n.text)
		return
	}
	*to = v
}

// wholeNumber reads the TOML forms of an integer: 22, 1_000, 0x16.
func wholeNumber(n *node) (int, bool) {
	v, err := strconv.ParseInt(n.text, 0, 32)
	return int(v), err == nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// duration reads a Go duration that is not negative. example is for messages.
func (d *decoder) duration(n *node, to *time.Duration, example string) bool {
	switch n.kind {
	case stringKind:
	case integerKind:
		d.doc.problem(n.value, fmt.Sprintf(`a duration has a unit and quotes, as in "%ss"`, n.text), "%s: expected a duration, found %s", n.path, n.kind)
		return false
	default:
		d.doc.problem(n.value, fmt.Sprintf("write %q", example), "%s: expected a duration, found %s", n.path, n.kind)
		return false
	}
	v, err := time.ParseDuration(n.text)
	switch {
	case err != nil:
		hint := fmt.Sprintf("the units are ms, s, m and h, as in %q", example)
		if isNumber(n.text) {
			hint = fmt.Sprintf(`it needs a unit, as in "%ss"`, n.text)
		} else if days, ok := strings.CutSuffix(n.text, "d"); ok && isNumber(days) && len(days) < 6 {
			v, _ := strconv.Atoi(days)
			hint = fmt.Sprintf(`there is no unit for days: write "%dh"`, v*24)
		}
		d.doc.problem(n.value, hint, "%s: %q is not a duration", n.path, n.text)
		return false
	case v < 0:
		d.doc.problem(n.value, fmt.Sprintf("write %q", example), "%s: %q is negative", n.path, n.text)
		return false
	}
	*to = v
	return true
}

// texts reads the elements of a list, which must be texts.
func (d *decoder) texts(n *node) iter.Seq2[*node, string] {
	return func(yield func(*node, string) bool) {
		for _, c := range n.children {
			c.path = n.path
			if s, ok := d.str(c); ok && !yield(c, s) {
				return
			}
		}
	}
}

// oneOf reads a text that must be one of a few.
func (d *decoder) oneOf(n *node, to *string, choices ...string) bool {
	s, ok := d.str(n)
	if !ok {
		return false
	}
	if slices.Contains(choices, s) {
		*to = s
		return true
	}
	hint := "the choices are " + strings.Join(choices, ", ")
	if guess := suggest.Nearest(s, choices); guess != "" {
		hint = fmt.Sprintf("did you mean %q? %s", guess, hint)
	}
	d.doc.problem(n.value, hint, "%s: %q is unknown", n.path, s)
	return false
}

// optionalPath reads a path; an empty one stays empty.
func (d *decoder) optionalPath(n *node, to *string) bool {
	s, ok := d.str(n)
	if name, found := strings.CutPrefix(s, credentialPrefix); ok && found {
		return d.credential(n, name, to)
	}
	if !ok || !d.checkPath(n, s) {
		return false
	}
	*to = d.absolute(s)
	return true
}

func (d *decoder) requiredPath(n *node, to *string) {
	if n.kind == stringKind && n.text == "" {
		d.doc.problem(n.value, "name the file, or its path from this file's directory", "%s is empty", n.path)
		return
	}
	d.optionalPath(n, to)
}

// checkPath refuses what is no path, and what only a shell would expand.
func (d *decoder) checkPath(n *node, s string) bool {
	switch {
	case strings.ContainsFunc(s, isControl):
		d.doc.problem(n.value, "remove it; a backslash is written twice, or the text in single quotes", "%s: %q has a control character", n.path, s)
	case strings.HasPrefix(s, "~"):
		d.doc.problem(n.value, "write the whole path", "%s: ~ is not expanded here", n.path)
	case strings.Contains(s, "$"):
		d.doc.problem(n.value, "write the whole path", "%s: variables are not expanded here", n.path)
	case strings.HasPrefix(s, "file:"), strings.HasPrefix(s, "unix:"):
		d.doc.problem(n.value, fmt.Sprintf("write %q", "/"+strings.TrimLeft(s[5:], "/")), "%s: expected a path, found a URL", n.path)
	default:
		return true
	}
	return false
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// absolute makes a path relative to the configuration file absolute, so that a change of directory
// changes nothing.
func (d *decoder) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}
