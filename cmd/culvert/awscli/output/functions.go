package output

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf16"
)

// function is one of JMESPath's. args has for each argument the types that it takes, apart by |; "" is any.
type function struct {
	args     []string
	variadic bool // the last argument may be repeated
	call     func(args []any) (any, error)
}

const ordered = "array-number|array-string"

// functions are those of the AWS CLI, with its results: avg of nothing is null, ceil is an integer.
var functions = map[string]function{
	"abs": {args: []string{"number"}, call: func(a []any) (any, error) {
		return absolute(a[0]), nil
	}},
	"avg": {args: []string{"array-number"}, call: func(a []any) (any, error) {
		list := a[0].([]any)
		if len(list) == 0 {
			return nil, nil
		}
		return float(sum(list)) / float64(len(list)), nil
	}},
	"ceil":  {args: []string{"number"}, call: rounded(math.Ceil)},
	"floor": {args: []string{"number"}, call: rounded(math.Floor)},
	"sum":   {args: []string{"array-number"}, call: func(a []any) (any, error) { return sum(a[0].([]any)), nil }},
	"contains": {args: []string{"array|string", ""}, call: func(a []any) (any, error) {
		if list, ok := a[0].([]any); ok {
			return slices.ContainsFunc(list, func(e any) bool { return equalInside(e, a[1]) }), nil
		}
		part, ok := a[1].(string)
		if !ok {
			return nil, errors.New("contains() looks in a string for strings only")
		}
		return strings.Contains(a[0].(string), part), nil
	}},
	"starts_with": {args: []string{"string", "string"}, call: func(a []any) (any, error) { return strings.HasPrefix(a[0].(string), a[1].(string)), nil }},
	"ends_with":   {args: []string{"string", "string"}, call: func(a []any) (any, error) { return strings.HasSuffix(a[0].(string), a[1].(string)), nil }},
	"join": {args: []string{"string", "array-string"}, call: func(a []any) (any, error) {
		var words []string
		for _, e := range a[1].([]any) {
			words = append(words, e.(string))
		}
		return strings.Join(words, a[0].(string)), nil
	}},
	"keys":   {args: []string{"object"}, call: func(a []any) (any, error) { return keys(a[0].(Object)), nil }},
	"values": {args: []string{"object"}, call: func(a []any) (any, error) { return values(a[0].(Object)), nil }},
	"merge": {args: []string{"object"}, variadic: true, call: func(a []any) (any, error) {
		out := Object{}
		for _, e := range a {
			for _, m := range e.(Object) {
				out = out.with(m.Name, m.Value)
			}
		}
		return out, nil
	}},
	"length": {args: []string{"string|array|object"}, call: func(a []any) (any, error) {
		switch v := a[0].(type) {
		case string:
			return int64(len([]rune(v))), nil
		case []any:
			return int64(len(v)), nil
		}
		return int64(len(a[0].(Object))), nil
	}},
	"map": {args: []string{"expref", "array"}, call: func(a []any) (any, error) {
		return each(a[1].([]any), a[0].(expression))
	}},
	"max": {args: []string{ordered}, call: func(a []any) (any, error) { return extreme(a[0].([]any), nil, 1) }},
	"min": {args: []string{ordered}, call: func(a []any) (any, error) { return extreme(a[0].([]any), nil, -1) }},
	"max_by": {args: []string{"array", "expref"}, call: func(a []any) (any, error) {
		return extreme(a[0].([]any), a[1].(expression), 1)
	}},
	"min_by": {args: []string{"array", "expref"}, call: func(a []any) (any, error) {
		return extreme(a[0].([]any), a[1].(expression), -1)
	}},
	"sort":    {args: []string{ordered}, call: func(a []any) (any, error) { return sortBy(a[0].([]any), nil) }},
	"sort_by": {args: []string{"array", "expref"}, call: func(a []any) (any, error) { return sortBy(a[0].([]any), a[1].(expression)) }},
	"reverse": {args: []string{"array|string"}, call: func(a []any) (any, error) {
		if s, ok := a[0].(string); ok {
			runes := []rune(s)
			slices.Reverse(runes)
			return string(runes), nil
		}
		list := slices.Clone(a[0].([]any))
		slices.Reverse(list)
		return list, nil
	}},
	"not_null": {args: []string{""}, variadic: true, call: func(a []any) (any, error) {
		for _, e := range a {
			if e != nil {
				return e, nil
			}
		}
		return nil, nil
	}},
	"to_array": {args: []string{""}, call: func(a []any) (any, error) {
		if list, ok := a[0].([]any); ok {
			return list, nil
		}
		return []any{a[0]}, nil
	}},
	"to_number": {args: []string{""}, call: func(a []any) (any, error) {
		s, ok := a[0].(string)
		if !ok {
			if typeOf(a[0]) == "number" {
				return a[0], nil
			}
			return nil, nil
		}
		return parseNumber(s), nil
	}},
	"to_string": {args: []string{""}, call: func(a []any) (any, error) {
		if s, ok := a[0].(string); ok {
			return s, nil
		}
		return compactJSON(a[0]), nil
	}},
	"type": {args: []string{""}, call: func(a []any) (any, error) { return typeOf(a[0]), nil }},
}

// call checks the arguments and calls a function.
func call(name string, args []any) (any, error) {
	f, ok := functions[name]
	if !ok {
		return nil, fmt.Errorf("unknown function: %s()", name)
	}
	if len(args) < len(f.args) || len(args) > len(f.args) && !f.variadic {
		return nil, fmt.Errorf("%s() takes %d arguments, not %d", name, len(f.args), len(args))
	}
	for i, arg := range args {
		wanted := f.args[min(i, len(f.args)-1)]
		if wanted != "" && !slices.ContainsFunc(strings.Split(wanted, "|"), func(t string) bool { return is(arg, t) }) {
			return nil, fmt.Errorf("%s() takes %s, not this %s", name, wanted, typeOf(arg))
		}
	}
	return f.call(args)
}

// is reports whether v is of a type of JMESPath, such as number or array-number.
func is(v any, want string) bool {
	outer, inner, typed := strings.Cut(want, "-")
	if typeOf(v) != outer {
		return false
	}
	return !typed || !slices.ContainsFunc(v.([]any), func(e any) bool { return typeOf(e) != inner })
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case Object:
		return "object"
	case expression:
		return "expref"
	}
	return "number"
}

func keys(o Object) []any {
	list := []any{}
	for _, m := range o {
		list = append(list, m.Name)
	}
	return list
}

func values(o Object) []any {
	list := []any{}
	for _, m := range o {
		list = append(list, m.Value)
	}
	return list
}

func each(list []any, f expression) ([]any, error) {
	out := make([]any, len(list))
	for i, e := range list {
		var err error
		if out[i], err = f(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sortKeys returns what elements are ordered by: all numbers or all strings.
func sortKeys(list []any, by expression) ([]any, error) {
	if by == nil {
		return list, nil
	}
	sortKeys, err := each(list, by)
	if err == nil && !is(sortKeys, "array-number") && !is(sortKeys, "array-string") {
		err = errors.New("elements are ordered by numbers or by strings")
	}
	return sortKeys, err
}

func extreme(list []any, by expression, sign int) (any, error) {
	keys, err := sortKeys(list, by)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	best := 0
	for i := range keys {
		if order, _ := ordering(keys[i], keys[best]); order*sign > 0 {
			best = i
		}
	}
	return list[best], nil
}

func sortBy(list []any, by expression) (any, error) {
	keys, err := sortKeys(list, by)
	if err != nil {
		return nil, err
	}
	pairs := make([][2]any, len(list))
	for i := range list {
		pairs[i] = [2]any{keys[i], list[i]}
	}
	slices.SortStableFunc(pairs, func(a, b [2]any) int {
		order, _ := ordering(a[0], b[0])
		return order
	})
	out := make([]any, len(list))
	for i := range pairs {
		out[i] = pairs[i][1]
	}
	return out, nil
}

// compactJSON writes JSON in ASCII and without spaces, as to_string does.
func compactJSON(v any) string {
	var parts []string
	switch v := v.(type) {
	case Object:
		for _, m := range v {
			parts = append(parts, ascii(quoteJSON(m.Name))+":"+compactJSON(m.Value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		for _, e := range v {
			parts = append(parts, compactJSON(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return ascii(scalarJSON(v))
}

func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x7f {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
