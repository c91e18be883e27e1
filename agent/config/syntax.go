package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quoteHint is the remedy for the most frequent slip.
const quoteHint = `put strings, durations and addresses in double quotes, as in level = "info" or keep_alive = "60s"`

// syntaxRules put the parser's words into users' ones. The first whose text is part of the message counts.
var syntaxRules = []struct{ part, message, hint string }{
	{"basic strings cannot have new lines", "the text has no closing quote", `end it with " on the same line`},
	{"literal strings cannot have new lines", "the text has no closing quote", "end it with ' on the same line"},
	{"unterminated basic string", "the text has no closing quote", `end it with " on the same line`},
	{"unterminated literal string", "the text has no closing quote", "end it with ' on the same line"},
	{"not terminated", "the text has no closing quotes", "end it with the three quotes that it began with"},
	{"escape", "", `write \\ for a backslash, or put the text in single quotes`},
	{"need a character after", "the text has no closing quote", `write \\ for a backslash, or put the text in single quotes`},
	{"leading zeroes", "a number has no leading zeroes", "remove them, or put the value in quotes if it is a text"},
	{"expected value, not end", "the value is missing", "write one after ="},
	{"array is incomplete", "the list has no closing ]", ""},
	{"after array value", "a , or ] is missing after a value of the list", "put a comma between two values, and ] after the last"},
	{"inline table is incomplete", "the table has no closing }", ""},
	{"inline table key-value", "a , or } is missing after a value of the table", "put a comma between two values, and } after the last"},
	{"to close table name", "the header has no closing ]", "put the header on a line of its own, as in [mqtt]"},
	{"to close array table name", "the header has no closing ]]", "no table here is a list: write one pair of brackets, as in [mqtt]"},
	{"invalid character at start of key", "there is no key here", "a line is a [table], key = value, or a # comment"},
	{"expected key but reached end", "there is no key here", "a line is a [table], key = value, or a # comment"},
	{"invalid UTF-8", "the text is not UTF-8", "save the file as UTF-8"},
	{"control characters", "there is a control character in the line", "remove it; in a text write it as \\u0000 and so on"},
	{"carriage return", "there is a lone carriage return in the line", "save the file with ordinary line ends"},
}

// syntaxProblem records a syntax error; start is where its expression begins.
func (d *document) syntaxProblem(message string, at span, start int) {
	hint := ""
	switch {
	case (message == "expected '=' after key" || strings.HasPrefix(message, "invalid character at start of key")) && d.accent(at) != "":
		message = d.accent(at) + " is not allowed in a name"
		hint = `a service's name has the letters a to z and A to Z, digits, ":", "_" and "-", as AWS IoT demands`
	case message == "expected '=' after key":
		message, hint = `there is no "=" after the key`, d.missingEquals(at, start)
	case start < len(d.data) && d.data[start] == '[' && strings.HasPrefix(message, "expected newline"):
		message, hint = "nothing may follow a header", "start a new line after it"
	case unquoted(message):
		at, message, hint = d.unquoted(at, start)
	default:
		for _, r := range syntaxRules {
			if strings.Contains(message, r.part) {
				if r.message != "" {
					message = r.message
				}
				hint = r.hint
				break
			}
		}
	}
	d.problem(at, hint, "%s", message)
}

// accent returns the character at a place, in quotes, if it is a letter beyond ASCII, else "".
func (d *document) accent(at span) string {
	if r, _ := utf8.DecodeRune(d.data[min(at.offset, len(d.data)):]); r >= utf8.RuneSelf && unicode.IsLetter(r) {
		return strconv.QuoteRune(r)
	}
	return ""
}

// missingEquals tells YAML's and other habits apart.
func (d *document) missingEquals(at span, start int) (hint string) {
	if at.offset >= len(d.data) || d.data[at.offset] != ':' || start >= at.offset {
		return `write key = value; put a key of several words in quotes`
	}
	line := string(d.lineText(d.line(at.offset)))
	if key, _, found := strings.Cut(line, "="); found {
		return fmt.Sprintf("put a name with a colon in quotes: %q", strings.TrimSpace(key))
	}
	return "write " + string(bytes.TrimSpace(d.data[start:at.offset])) + " = value, with = instead of the colon"
}

// unquoted knows what the parser says of a value that is a text without quotes.
func unquoted(message string) bool {
	for _, s := range []string{"unexpected character", "expected keyword", "strings must be quoted", "expected newline"} {
		if strings.HasPrefix(message, s) {
			return true
		}
	}
	return false
}

// unquoted explains a value that is none.
func (d *document) unquoted(at span, start int) (where span, message, hint string) {
	line := d.line(at.offset)
	end := d.lines[line] + len(d.lineText(line))
	if start >= end || d.line(start) != line {
		start = end // an expression of several lines
	}
	if i := bytes.IndexByte(d.data[start:end], '='); i >= 0 && start+i < at.offset {
		value, _, _ := strings.Cut(string(d.data[start+i+1:end]), "#")
		text := strings.TrimSpace(value)
		where = span{start + i + 1 + strings.Index(value, text), len(text)}
		switch {
		case text == "":
			return at, "the value is missing", "write one after =, or remove the key to get its default"
		case text == "True", text == "False":
			return where, text + " is not a value", "write it in lower case: " + strings.ToLower(text)
		case strings.ContainsRune(`"'`, rune(text[0])):
			return at, "this does not belong to the value before it", "put each setting on a line of its own"
		case !strings.ContainsRune("[{", rune(text[0])):
			return where, text + " is not a value", fmt.Sprintf("write it in double quotes: %q", text)
		}
	}
	rest := d.data[min(at.offset, len(d.data)):]
	if bytes.HasPrefix(rest, []byte("True")) || bytes.HasPrefix(rest, []byte("False")) {
		return at, "this is not a value", "write true or false in lower case"
	}
	return at, "this is not a value", quoteHint
}
