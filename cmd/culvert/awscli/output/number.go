package output

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// decodeNumber reads a number of JSON as Python does, and with it the AWS CLI: integers have no limit, and fractions
// beyond the largest are infinite.
func decodeNumber(n json.Number) any {
	if v, err := n.Int64(); err == nil {
		return v
	}
	if v, ok := new(big.Int).SetString(n.String(), 10); ok {
		return integer(v)
	}
	f, _ := n.Float64() // infinite if it is out of range
	return f
}

// integer is an int64 whenever it can be one.
func integer(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

// bigInt returns an integer of either type, and nil for all else.
func bigInt(v any) *big.Int {
	switch v := v.(type) {
	case int64:
		return big.NewInt(v)
	case *big.Int:
		return v
	}
	return nil
}

func float(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f
	case float64:
		return v
	}
	return 0
}

func isNaN(v any) bool { f, ok := v.(float64); return ok && math.IsNaN(f) }

// numbersOrder compares exactly: 9007199254740993 is more than 9007199254740992.0.
func numbersOrder(a, b any) int {
	x, y := exact(a), exact(b)
	if x == nil || y == nil {
		return cmp.Compare(float(a), float(b))
	}
	return x.Cmp(y)
}

// exact returns a number without rounding, and nil for what is infinite or no number.
func exact(v any) *big.Rat {
	if n := bigInt(v); n != nil {
		return new(big.Rat).SetInt(n)
	}
	return new(big.Rat).SetFloat64(float(v))
}

// add returns an integer if both are.
func add(a, b any) any {
	if x, y := bigInt(a), bigInt(b); x != nil && y != nil {
		return integer(new(big.Int).Add(x, y))
	}
	return float(a) + float(b)
}

func sum(list []any) any {
	var total any = int64(0)
	for _, e := range list {
		total = add(total, e)
	}
	return total
}

func absolute(v any) any {
	if n := bigInt(v); n != nil {
		return integer(new(big.Int).Abs(n))
	}
	return math.Abs(float(v))
}

func rounded(round func(float64) float64) func([]any) (any, error) {
	return func(a []any) (any, error) {
		if bigInt(a[0]) != nil {
			return a[0], nil
		}
		f := float(a[0])
		if math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, errors.New("what is infinite or no number has no integer")
		}
		n, _ := big.NewFloat(round(f)).Int(nil)
		return integer(n), nil
	}
}

// parseNumber reads a string as Python's int and float do, which allow an underscore between two digits and words such
// as inf. It returns nil for all else.
func parseNumber(s string) any {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "xX") { // Go's fractions may be hexadecimal
		return nil
	}
	isDigit := func(i int) bool { return i >= 0 && i < len(s) && '0' <= s[i] && s[i] <= '9' }
	for i := range len(s) {
		if s[i] == '_' && (!isDigit(i-1) || !isDigit(i+1)) {
			return nil
		}
	}
	s = strings.ReplaceAll(s, "_", "")
	if n, ok := new(big.Int).SetString(s, 10); ok {
		return integer(n)
	}
	if strings.EqualFold(strings.TrimLeft(s, "+-"), "nan") && len(s) <= len("+nan") {
		return math.NaN()
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil
	}
	return f
}

// infinite are the words for what has no digits: in JSON, in YAML, and in text and tables.
var infinite = [][3]string{{"Infinity", ".inf", "inf"}, {"-Infinity", "-.inf", "-inf"}, {"NaN", ".nan", "nan"}}

// Columns of infinite.
const (
	inJSON = iota
	inYAML
	inText
)

// number writes a number as Python does, and with it the AWS CLI.
func number(v any, form int) (string, bool) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), true
	case *big.Int:
		return v.String(), true
	case float64:
		switch {
		case math.IsInf(v, 1):
			return infinite[0][form], true
		case math.IsInf(v, -1):
			return infinite[1][form], true
		case math.IsNaN(v):
			return infinite[2][form], true
		}
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
