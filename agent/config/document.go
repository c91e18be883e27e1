package config

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/culvert-iot/culvert/internal/clean"
)

// kind is what a value is, in users' words.
type kind string

const (
	tableKind   kind = "a table"
	listKind    kind = "a list"
	stringKind  kind = "a string"
	integerKind kind = "a whole number"
	floatKind   kind = "a decimal number"
	boolKind    kind = "true or false"
	dateKind    kind = "a date or time"
)

// span is a place in the file: bytes from offset on.
type span struct{ offset, length int }

// node is a key with its value, or an element of a list. The tree of nodes keeps what decoding into
// structs loses: where everything stands, and the case of keys.
type node struct {
	kind     kind
	name     string
	path     string // how messages call it: the whole key, as in mqtt.endpoint
	key      span   // of the name
	value    span   // of the value; a table's is that of its name
	text     string
	children []*node // of a table in the file's order, or of a list
	byName   map[string]*node
	explicit bool // a table that has its own header or braces
	dotted   bool // a table that exists because a dotted key led through it
	closed   bool // a table in braces: complete
}

func (n *node) child(name string) *node { return n.byName[name] }

func (n *node) add(c *node) *node {
	n.children = append(n.children, c)
	if n.kind == tableKind {
		if n.byName == nil {
			n.byName = make(map[string]*node)
		}
		n.byName[c.name] = c
	}
	return c
}

const (
	// maxProblems bounds the report on a file.
	maxProblems = 100
	// maxForeign bounds it where the file is no configuration at all: more lines of it explain nothing.
	maxForeign = 3
	// maxMessage bounds one text, in bytes.
	maxMessage = 600
)

// document is a parsed file with what is wrong with it.
type document struct {
	file     string
	data     []byte
	lines    []int // offset of each line
	root     *node
	broken   bool // by a syntax error: what is missing may only not have been read
	syntax   int  // syntax errors
	problems Errors
	omitted  int
}

// parseDocument never fails: what it cannot read becomes a problem of the document.
func parseDocument(data []byte, file string) *document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some editors put a byte order mark first
	d := &document{file: file, data: data, lines: []int{0}, root: &node{kind: tableKind, explicit: true}}
	for i, c := range data {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	d.parse()
	return d
}

// line returns the 0-based line of offset.
func (d *document) line(offset int) int {
	return sort.SearchInts(d.lines, offset+1) - 1
}

// lineText returns a line without its end.
func (d *document) lineText(line int) []byte {
	text, _, ended := bytes.Cut(d.data[d.lines[line]:], []byte("\n"))
	if ended {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	return text
}

// problem records what is wrong at a place.
func (d *document) problem(at span, hint, format string, args ...any) {
	if len(d.problems) == maxProblems {
		d.omitted++
		return
	}
	at.offset = min(at.offset, len(d.data))
	line := d.line(at.offset)
	text := d.lineText(line)
	before := min(at.offset-d.lines[line], len(text))
	marked := text[before:min(len(text), before+at.length)]
	source := hideSecrets(string(text))
	hide := hider(string(text), source)
	d.problems = append(d.problems, &Error{
		File: d.file, Line: line + 1, Column: utf8.RuneCount(text[:before]) + 1,
		Width: max(1, utf8.RuneCount(marked)), Source: source,
		Message: shown(hide.Replace(fmt.Sprintf(format, args...))), hint: shown(hide.Replace(hint)),
	})
}

// shown is a message that may quote the file, fit for a terminal.
func shown(s string) string { return clean.Text(hideSecrets(s), maxMessage) }

// err returns all problems in the order of their lines.
func (d *document) err() error {
	list := sorted(d.problems)
	if d.foreign() && len(list) > maxForeign {
		d.omitted += len(list) - maxForeign
		list = list[:maxForeign]
	}
	switch {
	case len(list) == 0:
		return nil
	case d.omitted > 0:
		list[len(list)-1].hint = strings.TrimPrefix(fmt.Sprintf("%s; %d more problems are not shown", list[len(list)-1].hint, d.omitted), "; ")
	case len(list) == 1:
		return list[0]
	}
	return list
}

// foreign reports whether the file is something else than a configuration: most of it is no TOML, and no key
// that exists has been read.
func (d *document) foreign() bool {
	for _, s := range sections {
		if s.name != "" && d.root.child(s.name) != nil {
			return false
		}
	}
	return d.syntax > maxForeign && d.root.child("thing_name") == nil
}

// parse builds the tree, expression by expression. After a syntax error that lies within one line it
// goes on with the next line, since a beginner's slip is often made several times; after one in an
// expression of several lines nothing that follows can be trusted.
func (d *document) parse() {
	var p unstable.Parser
	b := &builder{doc: d, table: d.root}
	base, done := 0, 0 // where the parser was set, and the end of what it understood
	p.Reset(d.data)
	for {
		for p.NextExpression() {
			done = b.expression(&p, base)
		}
		err, ok := errors.AsType[*unstable.ParserError](p.Error())
		if !ok {
			return
		}
		d.broken = true
		d.syntax++
		data := d.data[base:]
		at := span{base + min(max(cap(data)-cap(err.Highlight), 0), len(data)), len(err.Highlight)}
		start := d.nextStatement(done)
		d.syntaxProblem(err.Message, at, start)
		if start < len(d.data) && d.data[start] == '[' {
			b.table = nil // whose keys follow is unknown
		}
		next := d.line(at.offset) + 1
		if d.line(start) != d.line(at.offset) || next >= len(d.lines) {
			return
		}
		base, done = d.lines[next], d.lines[next]
		p.Reset(d.data[base:])
	}
}

// nextStatement returns the offset of the first line from that of offset on, or after it if something was
// understood up to there, which is neither empty nor a comment.
func (d *document) nextStatement(offset int) int {
	line := d.line(offset)
	if offset > d.lines[line] {
		line++
	}
	for ; line < len(d.lines); line++ {
		if text := bytes.TrimLeft(d.lineText(line), " \t"); len(text) > 0 && text[0] != '#' {
			return d.lines[line] + len(d.lineText(line)) - len(text)
		}
	}
	return len(d.data)
}
