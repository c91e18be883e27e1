package output

import (
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// writeYAML writes block style with sorted members and lists that are not indented. It writes a lone scalar as JSON,
// as the AWS CLI does: YAML would need an end mark.
func writeYAML(b *strings.Builder, v any) {
	if isScalar(v) {
		b.WriteString(scalarJSON(v) + "\n")
		return
	}
	nodeYAML(b, v, "", true)
}

// nodeYAML writes a value. With inline, the first line is indented already.
func nodeYAML(b *strings.Builder, v any, indent string, inline bool) {
	lead := func() {
		if !inline {
			b.WriteString(indent)
		}
		inline = false
	}
	switch v := v.(type) {
	case Object:
		if len(v) == 0 {
			b.WriteString("{}\n")
			return
		}
		for _, m := range v.sorted() {
			lead()
			b.WriteString(scalarYAML(m.Name) + ":")
			switch e := m.Value.(type) {
			case Object:
				if len(e) > 0 {
					b.WriteByte('\n')
					nodeYAML(b, e, indent+"  ", false)
					continue
				}
			case []any:
				if len(e) > 0 {
					b.WriteByte('\n')
					nodeYAML(b, e, indent, false)
					continue
				}
			}
			b.WriteByte(' ')
			nodeYAML(b, m.Value, indent, true)
		}
	case []any:
		if len(v) == 0 {
			b.WriteString("[]\n")
			return
		}
		for _, e := range v {
			lead()
			b.WriteString("- ")
			nodeYAML(b, e, indent+"  ", true)
		}
	default:
		b.WriteString(scalarYAML(v) + "\n")
	}
}

// scalarYAML quotes a string only where YAML would read it as something else.
func scalarYAML(v any) string {
	s, ok := v.(string)
	if !ok {
		if n, ok := number(v, inYAML); ok {
			return n
		}
		return scalarJSON(v)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return quoteJSON(s)
	}
	var read map[string]any
	if yaml.Unmarshal([]byte("k: "+s), &read) == nil && len(read) == 1 && read["k"] == any(s) && s != "=" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
