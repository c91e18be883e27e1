package output

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
)

// An Object is a JSON object whose members keep their order. The other values of this package are nil, bool, string,
// int64, float64 and []any.
type Object []Member

// Member is one member of an [Object].
type Member struct {
	Name  string
	Value any
}

// Get returns the value of a member, and whether there is one of that name.
func (o Object) Get(name string) (any, bool) {
	for _, m := range o {
		if m.Name == name {
			return m.Value, true
		}
	}
	return nil, false
}

// with returns the object with a member added or replaced.
func (o Object) with(name string, value any) Object {
	for i := range o {
		if o[i].Name == name {
			o[i].Value = value
			return o
		}
	}
	return append(o, Member{name, value})
}

// sorted returns the members in the order of text, tables and YAML.
func (o Object) sorted() Object {
	o = slices.Clone(o)
	slices.SortFunc(o, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return o
}

// Decode reads one JSON document. Numbers without a fraction or an exponent become int64, others float64.
func Decode(text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, errors.New("invalid JSON")
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return decode(d)
}

func decode(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	case json.Delim:
		list, object := []any{}, Object{}
		for d.More() {
			var name string
			if t == '{' {
				key, err := d.Token()
				if err != nil {
					return nil, err
				}
				name, _ = key.(string)
			}
			v, err := decode(d)
			if err != nil {
				return nil, err
			}
			list, object = append(list, v), object.with(name, v)
		}
		if _, err = d.Token(); t == '{' {
			return object, err
		}
		return list, err
	}
	return token, nil
}

func isScalar(v any) bool {
	switch v.(type) {
	case Object, []any:
		return false
	}
	return true
}

// number writes a number as Python does, and with it the AWS CLI.
func number(v any) (string, bool) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
			return strconv.FormatFloat(v, 'e', -1, 64), true
		}
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s, true
	}
	return "", false
}
