package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// builder adds expressions to the tree.
type builder struct {
	doc   *document
	table *node // that the next key belongs to; nil after a header that made no sense
	base  int   // offset of the parser's data within the file
}

func (b *builder) span(r unstable.Range) span {
	return span{b.base + int(r.Offset), int(r.Length)}
}

// expression takes the parser's current expression and returns where it ends.
func (b *builder) expression(p *unstable.Parser, base int) int {
	b.base = base
	switch e := p.Expression(); e.Kind {
	case unstable.KeyValue:
		if b.table != nil {
			b.keyValue(b.table, e)
		}
		return b.base + int(e.Raw.Offset+e.Raw.Length)
	case unstable.Table, unstable.ArrayTable:
		keys := b.keys(e.Key())
		b.table = b.header(keys, e.Kind == unstable.ArrayTable)
		last := keys[len(keys)-1].at
		return last.offset + last.length
	default:
		return 0 // comments are not kept, and there is nothing else
	}
}

// part is one part of a dotted key.
type part struct {
	name string
	at   span
}

func (b *builder) keys(it unstable.Iterator) []part {
	var list []part
	for it.Next() {
		list = append(list, part{string(it.Node().Data), b.span(it.Node().Raw)})
	}
	return list
}

// header opens [a.b] or [[a.b]].
func (b *builder) header(keys []part, list bool) *node {
	t := b.walk(b.doc.root, keys[:len(keys)-1], false)
	if t == nil {
		return nil
	}
	last := keys[len(keys)-1]
	old := t.child(last.name)
	table := &node{kind: tableKind, name: last.name, key: last.at, value: last.at, explicit: true}
	switch {
	case old == nil && list:
		t.add(&node{kind: listKind, name: last.name, key: last.at, value: last.at}).add(table)
		return table
	case old == nil:
		return t.add(table)
	case list && old.kind == listKind && len(old.children) > 0 && old.children[0].kind == tableKind:
		return old.add(table)
	case old.kind == tableKind && !list && !old.explicit && !old.dotted:
		old.explicit, old.key, old.value = true, last.at, last.at
		return old
	case old.kind == tableKind && !list:
		b.twice(old, last.at, "the table ["+dotted(keys)+"]", "put all its keys beneath one header")
		return old // its keys are looked at all the same
	}
	b.twice(old, last.at, dotted(keys), "remove one of the two")
	return nil
}

func (b *builder) twice(old *node, at span, what, hint string) {
	b.doc.problem(at, hint, "%s appears twice, first on line %d", what, b.doc.line(old.key.offset)+1)
}

// walk goes down from t, making the tables that are missing.
func (b *builder) walk(t *node, keys []part, dotted bool) *node {
	for _, k := range keys {
		next := t.child(k.name)
		switch {
		case next == nil:
			next = t.add(&node{kind: tableKind, name: k.name, key: k.at, value: k.at, dotted: dotted})
		case next.kind == listKind && len(next.children) > 0 && next.children[len(next.children)-1].kind == tableKind:
			next = next.children[len(next.children)-1]
		case next.kind != tableKind:
			b.doc.problem(k.at, "a key has either a value or keys of its own",
				"%s has a value already, on line %d, so nothing can be put into it", k.name, b.doc.line(next.key.offset)+1)
			return nil
		}
		if next.closed {
			b.doc.problem(k.at, "put all its keys between the braces, or beneath one header",
				"the table %s is complete with its braces on line %d", quoteKey(k.name), b.doc.line(next.key.offset)+1)
			return nil
		}
		t = next
	}
	return t
}

// keyValue adds key = value to t.
func (b *builder) keyValue(t *node, e *unstable.Node) {
	keys := b.keys(e.Key())
	if t = b.walk(t, keys[:len(keys)-1], true); t == nil {
		return
	}
	last := keys[len(keys)-1]
	if old := t.child(last.name); old != nil {
		b.twice(old, last.at, last.name, "remove one of the two")
		return
	}
	n := &node{name: last.name, key: last.at}
	b.value(n, e.Value(), b.valueStart(last.at))
	t.add(n)
}

// valueStart finds where the value of a key begins, for the kinds whose place the parser does not tell.
func (b *builder) valueStart(key span) span {
	i := key.offset + key.length
	for i < len(b.doc.data) && (b.doc.data[i] == ' ' || b.doc.data[i] == '\t' || b.doc.data[i] == '=') {
		i++
	}
	return span{i, 1}
}

func (b *builder) value(n *node, v *unstable.Node, at span) {
	n.value, n.text = at, string(v.Data)
	if v.Raw.Length > 0 {
		n.value = b.span(v.Raw)
	}
	switch v.Kind {
	case unstable.String:
		n.kind = stringKind
	case unstable.Integer:
		n.kind = integerKind
	case unstable.Float:
		n.kind = floatKind
	case unstable.Bool:
		n.kind = boolKind
	case unstable.Array:
		n.kind = listKind
		for it := v.Children(); it.Next(); {
			c := &node{}
			b.value(c, it.Node(), at)
			n.add(c)
		}
	case unstable.InlineTable:
		n.kind, n.explicit = tableKind, true
		for it := v.Children(); it.Next(); {
			b.keyValue(n, it.Node())
		}
		n.closed = true
	default:
		n.kind = dateKind
	}
}

// dotted shows a key of several parts.
func dotted(keys []part) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = quoteKey(k.name)
	}
	return strings.Join(names, ".")
}

// quoteKey shows one part of a key as a file would write it.
func quoteKey(name string) string {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return fmt.Sprintf("%q", name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}
