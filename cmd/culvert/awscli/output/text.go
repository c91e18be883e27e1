package output

import (
	"maps"
	"slices"
	"strings"
)

// text writes lines of words between tabs: an object is a line of its scalars, sorted by their names, headed by the
// name that it has; lists and objects in it follow on lines of their own.
type text struct{ b *strings.Builder }

func (t text) line(words []string) { t.b.WriteString(strings.Join(words, "\t") + "\n") }

// item writes a value. columns are the scalars of all objects of a list, so that its lines match.
func (t text) item(v any, name string, columns []string) {
	switch v := v.(type) {
	case map[string]any:
		t.object(v, name, columns)
	case []any:
		t.list(v, name)
	default:
		t.line([]string{word(v)})
	}
}

func (t text) object(m map[string]any, name string, columns []string) {
	var words, rest []string
	if columns == nil {
		for _, k := range sortedKeys(m) {
			if isScalar(m[k]) {
				words = append(words, word(m[k]))
			} else {
				rest = append(rest, k)
			}
		}
	} else {
		for _, k := range columns {
			if v, ok := m[k]; ok {
				words = append(words, word(v))
			} else {
				words = append(words, "")
			}
		}
		for _, k := range sortedKeys(m) {
			if !slices.Contains(columns, k) {
				rest = append(rest, k)
			}
		}
	}
	if len(words) > 0 {
		if name != "" {
			words = append([]string{strings.ToUpper(name)}, words...)
		}
		t.line(words)
	}
	for _, k := range rest {
		t.item(m[k], k, nil)
	}
}

func (t text) list(list []any, name string) {
	if len(list) == 0 {
		return
	}
	objects, lists := false, false
	columns := map[string]bool{}
	for _, e := range list {
		switch e := e.(type) {
		case map[string]any:
			objects = true
			for k, v := range e {
				if isScalar(v) {
					columns[k] = true
				}
			}
		case []any:
			lists = true
		}
	}
	switch {
	case objects:
		sorted := slices.AppendSeq([]string{}, maps.Keys(columns))
		slices.Sort(sorted)
		for _, e := range list {
			t.item(e, name, sorted)
		}
	case lists:
		var scalars []any
		for _, e := range list {
			if isScalar(e) {
				scalars = append(scalars, e)
			}
		}
		if len(scalars) > 0 {
			t.scalars(scalars, name)
		}
		for _, e := range list {
			if !isScalar(e) {
				t.item(e, name, nil)
			}
		}
	default:
		t.scalars(list, name)
	}
}

func (t text) scalars(list []any, name string) {
	var words []string
	for _, e := range list {
		if name != "" {
			t.line([]string{strings.ToUpper(name), word(e)})
		}
		words = append(words, word(e))
	}
	if name == "" {
		t.line(words)
	}
}
