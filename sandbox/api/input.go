package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// input is one JSON object of a request. Members are read by their exact name; null is absent; unknown ones are
// ignored. What is wrong is collected and told together, as AWS does.
type input struct {
	path    string // "" or "destinationConfig."
	members map[string]json.RawMessage
	faults  *findings
}

type findings struct {
	malformed string   // the first member of a wrong JSON type
	broken    []string // constraints
}

func parseInput(body []byte) (*input, error) {
	in := &input{faults: &findings{}}
	if len(bytes.TrimSpace(body)) == 0 {
		return in, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&in.members); err != nil || in.members == nil {
		return nil, &Error{Type: typeSerialization, Message: "The request is no JSON object."}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{Type: typeSerialization, Message: "Something follows the JSON object."}
	}
	return in, nil
}

// err tells everything that was found. A wrong JSON type comes first: AWS does not get as far as the constraints.
func (in *input) err() error {
	f := in.faults
	switch {
	case f.malformed != "":
		return &Error{Type: typeSerialization, Message: f.malformed}
	case len(f.broken) == 1:
		return &Error{Type: typeValidation, Message: "1 validation error detected: " + f.broken[0]}
	case len(f.broken) > 1:
		return &Error{Type: typeValidation, Message: fmt.Sprintf("%d validation errors detected: %s", len(f.broken), strings.Join(f.broken, "; "))}
	}
	return nil
}

func (in *input) wrongType(name, want string) {
	if in.faults.malformed == "" {
		in.faults.malformed = fmt.Sprintf("%s%s must be %s.", in.path, name, want)
	}
}

// broke notes a constraint. What a caller wrote is shown shortened.
func (in *input) broke(name, value, must string) {
	if utf8.RuneCountInString(value) > 80 {
		value = string([]rune(value)[:80]) + "…"
	}
	in.faults.broken = append(in.faults.broken,
		fmt.Sprintf("Value '%s' at '%s%s' failed to satisfy constraint: Member must %s", value, in.path, name, must))
}

func (in *input) missing(name string) {
	in.faults.broken = append(in.faults.broken,
		fmt.Sprintf("Value at '%s%s' failed to satisfy constraint: Member must not be null", in.path, name))
}

// has reports whether a member is there and not null.
func (in *input) has(name string) bool {
	raw, ok := in.members[name]
	return ok && string(raw) != "null"
}

// need is has, and notes what is missing.
func (in *input) need(name string) bool {
	if !in.has(name) {
		in.missing(name)
		return false
	}
	return true
}

// form is what a string must look like: its length in characters, then its pattern.
type form struct {
	min, max int
	pattern  *regexp.Regexp // nil: any
	shown    string         // the pattern as the API model has it
}

func (in *input) check(name, s string, f form) {
	switch n := utf8.RuneCountInString(s); {
	case n < f.min:
		in.broke(name, s, fmt.Sprintf("have length greater than or equal to %d", f.min))
	case n > f.max:
		in.broke(name, s, fmt.Sprintf("have length less than or equal to %d", f.max))
	case f.pattern != nil && !f.pattern.MatchString(s):
		in.broke(name, s, "satisfy regular expression pattern: "+f.shown)
	}
}

func (in *input) text(name string, f form) string {
	var s string
	if !in.has(name) {
		return ""
	}
	if json.Unmarshal(in.members[name], &s) != nil {
		in.wrongType(name, "a string")
		return ""
	}
	in.check(name, s, f)
	return s
}

func (in *input) enum(name string, values ...string) string {
	return in.text(name, form{
		max: maxBody, shown: "[" + strings.Join(values, ", ") + "]",
		pattern: regexp.MustCompile("^(" + strings.Join(values, "|") + ")$"),
	})
}

func (in *input) boolean(name string) (b bool) {
	if in.has(name) && json.Unmarshal(in.members[name], &b) != nil {
		in.wrongType(name, "true or false")
	}
	return b
}

// integer returns 0 for an absent member.
func (in *input) integer(name string, low, high int) (n int) {
	if !in.has(name) {
		return 0
	}
	if json.Unmarshal(in.members[name], &n) != nil {
		in.wrongType(name, "an integer")
		return 0
	}
	switch shown := fmt.Sprint(n); {
	case n < low:
		in.broke(name, shown, fmt.Sprintf("have value greater than or equal to %d", low))
	case n > high:
		in.broke(name, shown, fmt.Sprintf("have value less than or equal to %d", high))
	}
	return n
}

// object returns nil for an absent member.
func (in *input) object(name string) *input {
	if !in.has(name) {
		return nil
	}
	sub := &input{path: in.path + name + ".", faults: in.faults}
	if json.Unmarshal(in.members[name], &sub.members) != nil {
		in.wrongType(name, "an object")
		return nil
	}
	return sub
}

// list returns the elements of an array, each as the only member "member" of an input of its own.
func (in *input) list(name string, low, high int) (elements []*input) {
	var raw []json.RawMessage
	if !in.has(name) {
		return nil
	}
	if json.Unmarshal(in.members[name], &raw) != nil {
		in.wrongType(name, "an array")
		return nil
	}
	switch shown := fmt.Sprintf("[%d elements]", len(raw)); {
	case len(raw) < low:
		in.broke(name, shown, fmt.Sprintf("have length greater than or equal to %d", low))
	case len(raw) > high:
		in.broke(name, shown, fmt.Sprintf("have length less than or equal to %d", high))
		return nil
	}
	for i, r := range raw {
		elements = append(elements, &input{
			path: fmt.Sprintf("%s%s.%d.", in.path, name, i+1), members: map[string]json.RawMessage{"member": r}, faults: in.faults,
		})
	}
	return elements
}

// texts returns an array of strings.
func (in *input) texts(name string, low, high int, f form) (list []string) {
	for _, e := range in.list(name, low, high) {
		if e.need("member") {
			list = append(list, e.text("member", f))
		}
	}
	return list
}
