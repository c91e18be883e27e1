package output

import (
	"encoding/json"
	"strings"
)

// literals quotes JMESPath literals that are no JSON, such as `OPEN`. Old JMESPath allowed them, the AWS CLI still does,
// and half the scripts of the world have them.
func literals(query string) string {
	var b strings.Builder
	for i := 0; i < len(query); {
		c := query[i]
		if c != '`' && c != '\'' && c != '"' {
			b.WriteByte(c)
			i++
			continue
		}
		end := i + 1
		for end < len(query) && query[end] != c {
			if query[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(query) {
			b.WriteString(query[i:]) // unclosed: the parser says so
			break
		}
		content := query[i+1 : end]
		if c == '`' && !json.Valid([]byte(strings.ReplaceAll(content, "\\`", "`"))) {
			content = `"` + strings.TrimLeft(content, " \t\r\n") + `"`
		}
		b.WriteString(string(c) + content + string(c))
		i = end + 1
	}
	return b.String()
}
