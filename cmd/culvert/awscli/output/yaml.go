package output

import (
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// writeYAML writes block style, members sorted, lists not indented. A lone scalar is written as JSON, as the AWS CLI
// does, to spare the end mark that YAML would need.
func writeYAML(b *strings.Builder, v any) {
	if isScalar(v) {
		b.WriteString(scalarJSON(v) + "\n")
		return
	}
	nodeYAML(b, v, "", true)
}

// nodeYAML writes a value. inline says that the first line's indentation is there already.
func nodeYAML(b *strings.Builder, v any, indent string, inline bool) {
	lead := func() {
		if !inline {
			b.WriteString(indent)
		}
		inline = false
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			b.WriteString("{}\n")
			return
		}
		for _, k := range sortedKeys(v) {
			lead()
			b.WriteString(scalarYAML(k) + ":")
			switch e := v[k].(type) {
			case map[string]any:
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
			nodeYAML(b, v[k], indent, true)
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

// scalarYAML quotes a string only if it would be read as something else.
func scalarYAML(v any) string {
	s, ok := v.(string)
	if !ok {
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
