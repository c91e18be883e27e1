package awscli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/culvert-iot/culvert/internal/hint"
)

// usageError reports wrong usage of a command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// parameters collects what to send: the options of the command line, and where they say nothing --cli-input-json or
// --cli-input-yaml.
func (op *operation) parameters(flags *pflag.FlagSet, g *globals) (map[string]any, error) {
	params := map[string]any{}
	for _, s := range op.input {
		v, given, err := optionValue(flags, s)
		if err != nil {
			return nil, op.misparsed(flags, s, err)
		}
		if given {
			params[s.name] = v
		}
	}
	document, err := g.document()
	if err != nil {
		return nil, err
	}
	for k, v := range document {
		if _, there := params[k]; !there {
			params[k] = v
		}
	}
	return params, nil
}

// misparsed explains why an option's value is none. What stands there without a key is written with one.
func (op *operation) misparsed(flags *pflag.FlagSet, s shape, err error) error {
	err = usagef("Error parsing parameter '--%s': %w", s.option(), err)
	word := strings.Trim(flags.Lookup(s.option()).Value.String(), "[]") // of a list
	if written := s.written(word); written != "" && !strings.ContainsAny(word, "={") {
		return hint.Wrapf(err, "write --%s %s; culvert %s --help", s.option(), written, op.command)
	}
	return err
}

// optionValue reads one option.
func optionValue(flags *pflag.FlagSet, s shape) (v any, given bool, err error) {
	name := s.option()
	if s.kind == booleanKind {
		yes, _ := flags.GetBool(name)
		no, _ := flags.GetBool("no-" + name)
		switch {
		case flags.Changed(name) && flags.Changed("no-"+name):
			return nil, false, fmt.Errorf("--%s and --no-%s cannot both be given", name, name)
		case flags.Changed(name):
			return yes, true, nil
		case flags.Changed("no-" + name):
			return !no, true, nil
		}
		return nil, false, nil
	}
	if !flags.Changed(name) {
		return nil, false, nil
	}
	var words []string
	if list, ok := flags.Lookup(name).Value.(pflag.SliceValue); ok {
		words = list.GetSlice() // GetStringArray loses an empty word
	} else {
		words = []string{flags.Lookup(name).Value.String()}
	}
	if len(words) == 1 {
		if words[0], err = loadText(words[0]); err != nil {
			return nil, false, err
		}
	}
	v, err = parseValue(words, s)
	return v, err == nil, err
}

// parseValue reads an option's words: as JSON if they look like it, else as shorthand or as plain words.
func parseValue(words []string, s shape) (any, error) {
	begins := func(characters string) bool {
		trimmed := strings.TrimSpace(words[0])
		return trimmed != "" && strings.IndexByte(characters, trimmed[0]) >= 0
	}
	switch s.kind {
	case structureKind:
		if begins("{[") {
			return parseJSON(words[0])
		}
		m, err := parseShorthand(words[0])
		if err != nil {
			return nil, err
		}
		return conform(m, s)
	case listKind:
		if len(words) == 1 && begins("[") {
			return parseJSON(words[0])
		}
		list := []any{}
		for _, w := range words {
			v, err := parseValue([]string{w}, s.members[0])
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case integerKind:
		n, err := strconv.Atoi(strings.TrimSpace(words[0]))
		if err != nil {
			return nil, fmt.Errorf("%q is not an integer", words[0])
		}
		return n, nil
	case stringKind, booleanKind, timestampKind:
	}
	return words[0], nil
}

func parseJSON(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("invalid JSON: text follows it")
	}
	return integers(v)
}

// integers replaces JSON's numbers by integers, the only numbers that the API takes.
func integers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		n, convErr := v.Int64()
		if convErr != nil || n < math.MinInt32 || n > math.MaxInt32 {
			return nil, fmt.Errorf("%s is not an integer of 32 bits", v)
		}
		return int(n), nil
	case map[string]any:
		for k, e := range v {
			if v[k], err = integers(e); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, e := range v {
			if v[i], err = integers(e); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// loadText replaces file://PATH and fileb://PATH by the contents of the file.
func loadText(word string) (string, error) {
	path, ok := strings.CutPrefix(word, "file://")
	if !ok {
		if path, ok = strings.CutPrefix(word, "fileb://"); !ok {
			return word, nil
		}
	}
	path = os.ExpandEnv(path)
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			path = home + "/" + rest
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("unable to load paramfile %s: %w", word, err)
	}
	if !utf8.Valid(text) {
		return "", fmt.Errorf("unable to load paramfile %s: it is not UTF-8 text", word)
	}
	return string(text), nil
}

// document reads --cli-input-json or --cli-input-yaml. It returns nil without either.
func (g *globals) document() (map[string]any, error) {
	name, word, parse := "cli-input-json", g.inputJSON, parseJSON
	switch {
	case g.given("cli-input-json") && g.given("cli-input-yaml"):
		return nil, usagef("Only one --cli-input- parameter may be specified")
	case g.given("cli-input-yaml"):
		name, word, parse = "cli-input-yaml", g.inputYAML, parseYAML
	case !g.given("cli-input-json"):
		return nil, nil
	}
	text, err := loadText(word)
	if err != nil {
		return nil, usagef("Error parsing parameter '--%s': %w", name, err)
	}
	v, err := parse(text)
	if err != nil {
		return nil, usagef("Error parsing parameter '%s': %w", name, err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, usagef("Error parsing parameter '--%s': Invalid type: an object is needed, not %s", name, typeName(v))
	}
	return m, nil
}

func parseYAML(text string) (any, error) {
	d := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	var v any
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("invalid YAML: %w", err)
	}
	var next any
	if err := d.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("invalid YAML: a second document follows it")
	}
	return v, nil
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int, int64, float64, json.Number:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("%T", v)
}
