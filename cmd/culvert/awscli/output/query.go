package output

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmespath-community/go-jmespath/pkg/parsing"
)

// query is a JMESPath expression. The library parses it. It is evaluated here, because the AWS CLI differs from all
// libraries for Go: it orders strings, keeps integers apart from fractions, and keeps the order of members.
type query struct {
	root     parsing.ASTNode
	literals []any
}

// compile parses an expression, and refuses what the library adds to the JMESPath of the AWS CLI.
func compile(text string) (*query, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("it cannot be empty")
	}
	q := &query{}
	rewritten, err := q.takeLiterals(text)
	if err != nil {
		return nil, err
	}
	if q.root, err = parsing.NewParser().Parse(rewritten); err != nil {
		return nil, err
	}
	return q, checkNodes(q.root)
}

func checkNodes(n parsing.ASTNode) error {
	switch n.NodeType { //nolint:exhaustive // all others need nothing here
	case parsing.ASTArithmeticExpression, parsing.ASTArithmeticUnaryExpression, parsing.ASTRootNode,
		parsing.ASTLetExpression, parsing.ASTVariable, parsing.ASTBindings, parsing.ASTBinding:
		return errors.New("arithmetic, variables and $ are not supported")
	}
	for _, c := range n.Children {
		if err := checkNodes(c); err != nil {
			return err
		}
	}
	return nil
}

// takeLiterals replaces each literal `…` by its number in q.literals, since the library would make all numbers
// fractions. A literal that is not JSON, such as `OPEN`, is a string: old JMESPath and the AWS CLI accept it.
func (q *query) takeLiterals(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); {
		c := text[i]
		if c != '`' && c != '\'' && c != '"' {
			b.WriteByte(c)
			i++
			continue
		}
		end := i + 1
		for end < len(text) && text[end] != c {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(text) {
			b.WriteString(text[i:]) // not closed: the parser refuses it
			break
		}
		if c == '`' {
			content := strings.ReplaceAll(text[i+1:end], "\\`", "`")
			v, err := Decode(content)
			if err != nil {
				v, err = Decode(`"` + strings.TrimLeft(content, " \t\r\n") + `"`)
			}
			if err != nil {
				return "", fmt.Errorf("bad literal `%s`", content)
			}
			fmt.Fprintf(&b, "`%d`", len(q.literals))
			q.literals = append(q.literals, v)
		} else {
			b.WriteString(text[i : end+1])
		}
		i = end + 1
	}
	return b.String(), nil
}

// expression is an argument such as &createdAt.
type expression func(any) (any, error)

// eval applies a node to a value.
func (q *query) eval(n parsing.ASTNode, v any) (any, error) {
	child := func(i int, v any) (any, error) { return q.eval(n.Children[i], v) }
	switch n.NodeType { //nolint:exhaustive // all others need nothing here
	case parsing.ASTIdentity, parsing.ASTCurrentNode:
		return v, nil
	case parsing.ASTLiteral:
		if i, ok := n.Value.(float64); ok {
			return q.literals[int(i)], nil
		}
		return n.Value, nil
	case parsing.ASTField:
		object, _ := v.(Object)
		member, _ := object.Get(n.Value.(string))
		return member, nil
	case parsing.ASTIndex:
		list, _ := v.([]any)
		i := n.Value.(int)
		if i < 0 {
			i += len(list)
		}
		if i < 0 || i >= len(list) {
			return nil, nil
		}
		return list[i], nil
	case parsing.ASTSlice:
		return slice(v, n.Value.([]*int))
	case parsing.ASTSubexpression, parsing.ASTIndexExpression, parsing.ASTPipe:
		left, err := child(0, v)
		if err != nil {
			return nil, err
		}
		return child(1, left)
	case parsing.ASTKeyValPair:
		return child(0, v)
	case parsing.ASTExpRef:
		return expression(func(v any) (any, error) { return child(0, v) }), nil
	case parsing.ASTComparator:
		return q.compare(n, v)
	case parsing.ASTOrExpression, parsing.ASTAndExpression:
		left, err := child(0, v)
		if err != nil || isFalse(left) == (n.NodeType == parsing.ASTAndExpression) {
			return left, err
		}
		return child(1, v)
	case parsing.ASTNotExpression:
		left, err := child(0, v)
		return isFalse(left), err
	case parsing.ASTFunctionExpression:
		args := make([]any, len(n.Children))
		for i := range args {
			var err error
			if args[i], err = child(i, v); err != nil {
				return nil, err
			}
		}
		return call(n.Value.(string), args)
	case parsing.ASTMultiSelectHash, parsing.ASTMultiSelectList:
		return q.multiSelect(n, v)
	case parsing.ASTFlatten, parsing.ASTProjection, parsing.ASTFilterProjection, parsing.ASTValueProjection:
		return q.project(n, v)
	}
	return nil, fmt.Errorf("unknown part of the expression: %v", n.NodeType)
}

func (q *query) multiSelect(n parsing.ASTNode, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	list, object := []any{}, Object{}
	for _, c := range n.Children {
		e, err := q.eval(c, v)
		if err != nil {
			return nil, err
		}
		if name, ok := c.Value.(string); ok && c.NodeType == parsing.ASTKeyValPair {
			object = object.with(name, e)
		}
		list = append(list, e)
	}
	if n.NodeType == parsing.ASTMultiSelectHash {
		return object, nil
	}
	return list, nil
}

// project applies an expression to each element of a list or value of an object.
func (q *query) project(n parsing.ASTNode, v any) (any, error) {
	base, err := q.eval(n.Children[0], v)
	if err != nil {
		return nil, err
	}
	list, ok := base.([]any)
	if n.NodeType == parsing.ASTValueProjection {
		var object Object
		if object, ok = base.(Object); ok {
			list = values(object)
		}
	}
	if !ok {
		return nil, nil
	}
	out := []any{}
	for _, e := range list {
		switch n.NodeType { //nolint:exhaustive // all others need nothing here
		case parsing.ASTFlatten:
			if inner, ok := e.([]any); ok {
				out = append(out, inner...)
			} else {
				out = append(out, e)
			}
			continue
		case parsing.ASTFilterProjection:
			matched, err := q.eval(n.Children[2], e)
			if err != nil {
				return nil, err
			}
			if isFalse(matched) {
				continue
			}
		}
		if e, err = q.eval(n.Children[1], e); err != nil {
			return nil, err
		}
		if e != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// slice is Python's list[from:to:step]; nil parts are left out.
func slice(v any, parts []*int) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, nil
	}
	step, n := 1, len(list)
	if parts[2] != nil {
		step = *parts[2]
	}
	if step == 0 {
		return nil, errors.New("the step of a slice cannot be 0")
	}
	low, high := 0, n
	if step < 0 {
		low, high = -1, n-1
	}
	bound := func(p *int, otherwise int) int {
		if p == nil {
			return otherwise
		}
		i := *p
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	from, to := bound(parts[0], low), bound(parts[1], high)
	if step < 0 {
		from, to = bound(parts[0], high), bound(parts[1], low)
	}
	out := []any{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		out = append(out, list[i])
	}
	return out, nil
}

func (q *query) compare(n parsing.ASTNode, v any) (any, error) {
	left, err := q.eval(n.Children[0], v)
	if err != nil {
		return nil, err
	}
	right, err := q.eval(n.Children[1], v)
	if err != nil {
		return nil, err
	}
	token := n.Value.(parsing.TokType)
	if token == parsing.TOKEQ || token == parsing.TOKNE {
		return equal(left, right) == (token == parsing.TOKEQ), nil
	}
	for _, side := range []any{left, right} {
		if t := typeOf(side); t != "number" && t != "string" {
			return nil, nil
		}
	}
	order, err := ordering(left, right)
	if err != nil {
		return nil, err
	}
	if isNaN(left) || isNaN(right) {
		return false, nil
	}
	return map[parsing.TokType]bool{
		parsing.TOKLT: order < 0, parsing.TOKLTE: order <= 0, parsing.TOKGT: order > 0, parsing.TOKGTE: order >= 0,
	}[token], nil
}

// ordering compares two numbers or two strings.
func ordering(a, b any) (int, error) {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	} else if typeOf(a) == "number" && typeOf(b) == "number" {
		return numbersOrder(a, b), nil
	}
	return 0, fmt.Errorf("a %s and a %s have no order", typeOf(a), typeOf(b))
}

// equal is ==, for which a boolean is no number.
func equal(a, b any) bool {
	return typeOf(a) == typeOf(b) && equalInside(a, b)
}

// equalInside compares what is inside of lists and objects, where the AWS CLI leaves it to Python: true is 1 there.
func equalInside(a, b any) bool {
	switch x := a.(type) {
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalInside)
	case Object:
		y, ok := b.(Object)
		if !ok || len(x) != len(y) {
			return false
		}
		for _, m := range x {
			if e, ok := y.Get(m.Name); !ok || !equalInside(m.Value, e) {
				return false
			}
		}
		return true
	case nil, string:
		return a == b
	}
	x, y := digit(a), digit(b)
	return typeOf(x) == "number" && typeOf(y) == "number" && !isNaN(x) && !isNaN(y) && numbersOrder(x, y) == 0
}

// digit is 1 for true, 0 for false, and the value itself for all else.
func digit(v any) any {
	switch v {
	case true:
		return int64(1)
	case false:
		return int64(0)
	}
	return v
}

// isFalse reports whether JMESPath takes v for false. 0 is true.
func isFalse(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case Object:
		return len(v) == 0
	}
	return false
}
