package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/textwrap"
)

const (
	// width is that of the narrowest terminal in use. Only a policy's ARN may be longer: it must stay
	// in one piece.
	width = 80

	// textLimit bounds a result's text and remedy, in bytes.
	textLimit = 2000
)

// signs stand before each line.
var signs = map[Status]string{OK: "✓", Warning: "!", Failed: "✗", Skipped: "–"}

// arrow stands before a remedy.
var arrow = strings.Repeat(" ", 19) + "→ "

// Write writes the result as text, wrapped at 80 columns.
func (r *Result) Write(w io.Writer) error {
	label := r.ID
	for _, k := range kinds {
		if k.id == r.ID {
			label = k.label
		}
	}
	text := r.Text
	switch {
	case r.Subject == "":
	case r.ID == "service":
		text = r.Subject + ": " + text
	default:
		text = r.Subject + ", " + text
	}
	var b strings.Builder
	b.WriteString(textwrap.Hanging(fmt.Sprintf("%s %-16s ", signs[r.Status], label), text, width))
	if r.Remedy != "" {
		b.WriteString(textwrap.Hanging(arrow, r.Remedy, width))
	}
	for _, s := range r.Policy {
		fmt.Fprintf(&b, "    {\"Effect\": %q, \"Action\": %q, \"Resource\":\n     %q}\n", s.Effect, s.Action, s.Resource)
	}
	if len(r.Policy) > 0 {
		b.WriteString(textwrap.Hanging(arrow, "add this to the policy of the device's certificate; replace ACCOUNT with your AWS account's 12 digits", width))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// clean makes safe to show what the result quotes of files, other programs and the network.
func (r *Result) clean() {
	r.Subject, r.Text, r.Remedy = clean.Line(r.Subject, textLimit), clean.Line(r.Text, textLimit), clean.Line(r.Remedy, textLimit)
}

// Summary counts the results in one line.
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
