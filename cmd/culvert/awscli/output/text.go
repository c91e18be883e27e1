package output

import (
	"maps"
	"slices"
	"strings"
)

// text writes words separated by tabs: an object is a line of its scalars, sorted by name and headed by the object's
// own name. The lists and objects in it follow on lines of their own.
type text struct{ b *strings.Builder }

func (t text) line(words []string) { t.b.WriteString(strings.Join(words, "\t") + "\n") }

// item writes a value. columns are the scalars of all objects of a list: its lines have the same columns.
func (t text) item(v any, name string, columns []string) {
	switch v := v.(type) {
	case Object:
		t.object(v, name, columns)
	case []any:
		t.list(v, name)
	default:
		t.line([]string{word(v)})
	}
}

func (t text) object(o Object, name string, columns []string) {
	var words []string
	var rest Object
	for _, m := range o.sorted() {
		switch {
		case columns != nil && !slices.Contains(columns, m.Name), columns == nil && !isScalar(m.Value):
			rest = append(rest, m)
		case columns == nil:
			words = append(words, word(m.Value))
		}
	}
	words = append(words, cells(o, columns)...)
	if len(words) > 0 {
		if name != "" {
			words = append([]string{strings.ToUpper(name)}, words...)
		}
		t.line(words)
	}
	for _, m := range rest {
		t.item(m.Value, m.Name, nil)
	}
}

// cells are the members of an object in columns, empty where it has none.
func cells(o Object, columns []string) (row []string) {
	for _, name := range columns {
		cell := ""
		if v, ok := o.Get(name); ok {
			cell = word(v)
		}
		row = append(row, cell)
	}
	return row
}

func (t text) list(list []any, name string) {
	if len(list) == 0 {
		return
	}
	objects, lists := false, false
	columns := map[string]bool{}
	for _, e := range list {
		switch e := e.(type) {
		case Object:
			objects = true
			for _, m := range e {
				if isScalar(m.Value) {
					columns[m.Name] = true
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
