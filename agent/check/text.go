package check

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// width is that of the narrowest terminal in use; only a policy's ARN may be longer, which must stay in one piece.
const width = 80

// signs stand before each line.
var signs = map[Status]string{OK: "✓", Warning: "!", Failed: "✗", Skipped: "–"}

// Write shows one result as text.
func (r *Result) Write(w io.Writer) error {
	var b strings.Builder
	label := r.ID
	for _, k := range kinds {
		if k.id == r.ID {
			label = k.label
		}
	}
	text := r.Text
	if r.ID == "service" && r.Subject != "" {
		text = r.Subject + ": " + text
	} else if r.Subject != "" {
		text = r.Subject + ", " + text
	}
	wrap(&b, fmt.Sprintf("%s %-16s", signs[r.Status], label), printable(text, 2000))
	if r.Remedy != "" {
		wrap(&b, strings.Repeat(" ", 18)+" →", printable(r.Remedy, 2000))
	}
	for _, s := range r.Policy {
		fmt.Fprintf(&b, "    {\"Effect\": %q, \"Action\": %q, \"Resource\":\n     %q}\n", s.Effect, s.Action, s.Resource)
	}
	if len(r.Policy) > 0 {
		wrap(&b, strings.Repeat(" ", 18)+" →", "add this to the policy of the device's certificate; ACCOUNT stands for your AWS account's 12 digits")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the last line.
func (r Report) Summary() string {
	passed := len(r.Checks) - r.Failed - r.Warnings - r.Skipped
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %d ok", plural(len(r.Checks), "check"), passed)
	for _, part := range []struct {
		n    int
		what string
	}{{r.Warnings, "to look at (!)"}, {r.Failed, "failed (✗)"}, {r.Skipped, "not tried (–)"}} {
		if part.n > 0 {
			fmt.Fprintf(&text, ", %d %s", part.n, part.what)
		}
	}
	return text.String()
}

// wrap writes a text beside a label, within width.
func wrap(b *strings.Builder, label, text string) {
	indent := utf8.RuneCountInString(label) + 1
	line, empty := label, true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", indent-1)
		}
		line += " " + word
		empty = false
		for utf8.RuneCountInString(line) > width { // one endless word
			runes := []rune(line)
			b.WriteString(string(runes[:width]) + "\n")
			line = strings.Repeat(" ", indent) + string(runes[width:])
		}
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// printable keeps a stranger's words from steering the terminal, and to a length in bytes.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
