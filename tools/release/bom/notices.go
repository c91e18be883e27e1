package main

import (
	"fmt"
	"io"
	"strings"
)

// writeNotices writes every licence under the name of what it is for. Licences ask for their text, not for a
// list of names.
func writeNotices(w io.Writer, name string, parts []part) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s contains the software listed here, each part under its own licence, which follows it.\n", name)
	for _, p := range parts {
		title := p.path + " " + p.version
		if p.path == "std" {
			title = "the Go standard library, " + p.version
		}
		for _, t := range p.texts {
			fmt.Fprintf(&b, "\n%s\n%s: %s\n%s\n\n%s\n", strings.Repeat("=", 78), title, t.name, strings.Repeat("=", 78), strings.TrimSpace(t.body))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
