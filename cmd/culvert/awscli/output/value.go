package output

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// An Object is a JSON object whose members keep their order. The other values of this package are nil, bool, string,
// int64, *big.Int for larger integers, float64 and []any.
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

// Decode reads one JSON document. Numbers without a fraction or an exponent become integers, others float64.
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
		return decodeNumber(t), nil
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
