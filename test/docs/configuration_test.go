package docs

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated into the guides")

const (
	annotated     = "../../configs/culvertd.toml"
	guide         = "../../docs/configuration.md"
	begin, finish = "<!-- generated -->\n", "<!-- end -->\n"
)

var (
	header     = regexp.MustCompile(`^\[([a-z]+)\]$`)
	setting    = regexp.MustCompile(`^(#?)([a-zA-Z_]+) *= (.*)$`)
	serviceKey = regexp.MustCompile(`^# ([a-z_]+)  +(.*)$`)
)

// reference makes the tables of all keys from the annotated file: a paragraph of comment belongs to the settings or the
// header beneath it, and one at the top of a section to the section.
func reference(text string) string {
	var out strings.Builder
	section, table := "", false
	var comment []string
	row := func(key, value, meaning string) {
		if !table {
			out.WriteString("| key | default | meaning |\n| --- | --- | --- |\n")
			table = true
		}
		out.WriteString("| `" + key + "` | " + value + " | " + strings.ReplaceAll(meaning, "|", `\|`) + " |\n")
	}
	lines := strings.Split(text, "\n")
	for at, line := range lines {
		switch {
		case line == "":
			comment = nil
		case header.MatchString(line):
			section, table = header.FindStringSubmatch(line)[1], false
			out.WriteString("\n### `[" + section + "]`\n\n" + wrapped(prose(comment)) + "\n")
			comment = nil
		case section == "services" && serviceKey.MatchString(line):
			m := serviceKey.FindStringSubmatch(line)
			meaning := m[2]
			for _, more := range lines[at+1:] {
				if !strings.HasPrefix(more, "#                  ") {
					break
				}
				meaning += " " + strings.TrimSpace(more[1:])
			}
			value := serviceDefault(meaning)
			row(m[1], value, meaning)
		case section == "services" && setting.MatchString(line):
			continue // examples, shown as a whole
		case strings.HasPrefix(line, "# ") || line == "#":
			comment = append(comment, strings.TrimPrefix(line[1:], " "))
		case setting.MatchString(line):
			m := setting.FindStringSubmatch(line)
			value := "`" + m[3] + "`"
			if m[1] == "" {
				value = "required"
			}
			row(m[2], value, strings.TrimSpace(prose(comment)))
			if at+1 == len(lines) || !setting.MatchString(lines[at+1]) {
				comment = nil
			}
		}
	}
	return out.String()
}

// serviceDefault finds a default that is told in words.
func serviceDefault(meaning string) string {
	switch {
	case strings.HasPrefix(meaning, "required"):
		return "required"
	case strings.Contains(meaning, "; 0, the default"):
		return "`0`"
	case strings.Contains(meaning, `"0s", the default`):
		return "`\"0s\"`"
	case strings.Contains(meaning, "the default is true"):
		return "`true`"
	}
	return "`tunnel.idle_timeout`"
}

// wrapped breaks the lines of a section's text at 100 columns, but not its examples.
func wrapped(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") {
			out.WriteString(line)
			continue
		}
		width := 0
		for i, word := range strings.Fields(line) {
			switch {
			case i > 0 && width+1+len(word) > 100:
				out.WriteString("\n")
				width = 0
			case i > 0:
				out.WriteString(" ")
				width++
			}
			out.WriteString(word)
			width += len(word)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// prose joins lines; those that are indented are examples.
func prose(lines []string) string {
	var out strings.Builder
	code := false
	for _, line := range lines {
		indented := strings.HasPrefix(line, "  ")
		switch {
		case indented && !code:
			out.WriteString("\n\n```\n")
		case !indented && code:
			out.WriteString("```\n\n")
		case out.Len() > 0 && !indented:
			out.WriteString(" ")
		}
		code = indented
		out.WriteString(line)
		if indented {
			out.WriteString("\n")
		}
	}
	if code {
		out.WriteString("```\n")
	}
	return strings.TrimRight(out.String(), " ") + "\n"
}

func TestTheConfigurationReferenceIsThatOfTheAnnotatedFile(t *testing.T) {
	source, err := os.ReadFile(annotated)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	have, after, ended := strings.Cut(rest, finish)
	if !found || !ended {
		t.Fatalf("%s has no place for what is generated, between %q and %q", guide, begin, finish)
	}
	_, keys, _ := strings.Cut(string(source), "\n\n") // without what explains the file as a whole
	want := reference(keys)
	if have == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not what %s says: run make docs", guide, annotated)
	}
	if err := os.WriteFile(guide, []byte(before+begin+want+finish+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
