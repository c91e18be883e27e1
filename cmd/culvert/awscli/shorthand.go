package awscli

import (
	"fmt"
	"strconv"
	"strings"
)

// parseShorthand reads the AWS CLI's shorthand for structures:
//
//	parameter = keyval *("," keyval)
//	keyval    = key "=" [ values ]
//	values    = value *("," value) / "[" values "]" / "{" keyval *("," keyval) "}"
//
// (AWS CLI user guide, shorthand syntax). A value ends at a comma, unless it is quoted or the comma is escaped. Words
// after a comma belong to the list before it, until an equals sign follows one. The result has strings, lists and
// objects; conform gives them the model's types.
func parseShorthand(s string) (map[string]any, error) {
	p := &shorthand{text: s}
	out := map[string]any{}
	for {
		key, err := p.key(out)
		if err != nil {
			return nil, err
		}
		if out[key], err = p.values(); err != nil {
			return nil, err
		}
		p.blanks()
		if p.end() {
			return out, nil
		}
		if err := p.expect(','); err != nil {
			return nil, err
		}
	}
}

type shorthand struct {
	text string
	at   int
}

func (p *shorthand) end() bool { return p.at >= len(p.text) }

func (p *shorthand) current() byte {
	if p.end() {
		return 0
	}
	return p.text[p.at]
}

func (p *shorthand) blanks() {
	for !p.end() && strings.IndexByte(" \t\r\n\v\f", p.text[p.at]) >= 0 {
		p.at++
	}
}

// expect takes one character, and blanks around it.
func (p *shorthand) expect(c byte) error {
	p.blanks()
	if p.end() || p.text[p.at] != c {
		found := "the end"
		if !p.end() {
			found = fmt.Sprintf("'%c'", []rune(p.text[p.at:])[0])
		}
		return fmt.Errorf("expected: '%c', received: %s at character %d of: %s", c, found, p.at+1, p.text)
	}
	p.at++
	p.blanks()
	return nil
}

const keyCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.#/:"

// key takes a new key and its equals sign.
func (p *shorthand) key(there map[string]any) (string, error) {
	begin := p.at
	for !p.end() && strings.IndexByte(keyCharacters, p.text[p.at]) >= 0 {
		p.at++
	}
	key := p.text[begin:p.at]
	if err := p.expect('='); err != nil {
		return "", err
	}
	if _, twice := there[key]; twice {
		return "", fmt.Errorf("second instance of key %q encountered for input: %s (often there is a \",\" that should be a space)", key, p.text)
	}
	return key, nil
}

func (p *shorthand) values() (any, error) {
	switch p.current() {
	case '[', '{':
		return p.explicit(0)
	}
	first, err := p.word(firstStop)
	if err != nil {
		return nil, err
	}
	p.blanks()
	list := []any{first}
	for p.current() == ',' {
		comma := p.at
		p.at++
		p.blanks()
		if p.end() {
			return nil, fmt.Errorf("expected: a value, received: the end after: %s", p.text)
		}
		// A word that is followed by = is the next key: the list ended before the comma.
		next, err := p.word(",=\"'")
		p.blanks()
		if err != nil || p.current() == '=' || next == "" {
			p.at = comma
			break
		}
		list = append(list, next)
	}
	if len(list) == 1 {
		return first, nil
	}
	return list, nil
}

const (
	firstStop  = ",\"']}" // a first value ends before these
	maxNesting = 32
)

// explicit takes a list in brackets, an object in braces, or a word within one of them.
func (p *shorthand) explicit(depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("too many brackets in: %s", p.text)
	}
	switch p.current() {
	case '[':
		list := []any{}
		err := p.sequence('[', ']', func() error {
			v, err := p.explicit(depth + 1)
			list = append(list, v)
			return err
		})
		return list, err
	case '{':
		object := map[string]any{}
		err := p.sequence('{', '}', func() error {
			key, err := p.key(object)
			if err != nil {
				return err
			}
			object[key], err = p.explicit(depth + 1)
			return err
		})
		return object, err
	}
	return p.word(firstStop)
}

func (p *shorthand) sequence(opening, closing byte, item func() error) error {
	if err := p.expect(opening); err != nil {
		return err
	}
	for p.current() != closing {
		if err := item(); err != nil {
			return err
		}
		p.blanks()
		if p.current() != closing {
			if err := p.expect(','); err != nil {
				return err
			}
		}
	}
	p.at++
	return nil
}

// word takes a quoted text, or one that ends before a character of stop.
func (p *shorthand) word(stop string) (string, error) {
	if quote := p.current(); quote == '\'' || quote == '"' {
		return p.quoted(quote)
	}
	var b strings.Builder
	if strings.IndexByte("=[{", p.current()) >= 0 {
		stop += "=[{" // no value begins so: it is empty
	}
	for !p.end() {
		c := p.text[p.at]
		if c == '\\' && strings.HasPrefix(p.text[p.at:], `\,`) {
			b.WriteByte(',')
			p.at += 2
			continue
		}
		if strings.IndexByte(stop, c) >= 0 {
			break
		}
		b.WriteByte(c)
		p.at++
	}
	return strings.TrimRight(b.String(), " \t\r\n"), nil
}

func (p *shorthand) quoted(quote byte) (string, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '\\' && i+1 < len(p.text) && (p.text[i+1] == quote || p.text[i+1] == '\\'):
			i++
			b.WriteByte(p.text[i])
		case c == quote:
			p.at = i + 1
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("there is no closing %c in: %s", quote, p.text)
}

// conform gives shorthand's strings the types of the model: where the model has a list, a lone word becomes one.
func conform(v any, s shape) (any, error) {
	switch s.kind {
	case structureKind:
		m, ok := v.(map[string]any)
		if !ok {
			return v, nil
		}
		for _, member := range s.members {
			e, ok := m[member.name]
			if !ok {
				continue
			}
			var err error
			if m[member.name], err = conform(e, member); err != nil {
				return nil, err
			}
		}
	case listKind:
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for i, e := range list {
			var err error
			if list[i], err = conform(e, s.members[0]); err != nil {
				return nil, err
			}
		}
		return list, nil
	case integerKind:
		if word, ok := v.(string); ok {
			n, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil {
				return nil, fmt.Errorf("%s: %q is not an integer", s.name, word)
			}
			return n, nil
		}
	case stringKind, booleanKind, timestampKind:
	}
	return v, nil
}
