// Package output prints results in the forms of the AWS CLI: JSON, text, tables and YAML, and queries them with
// JMESPath. Results are what encoding/json makes of JSON, with any kind of integer besides.
//
// It knows no operation and no wire; it is told in which order members come.
package output

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jmespath/go-jmespath"
)

// Forms are the names of the forms.
var Forms = []string{"json", "text", "table", "yaml", "yaml-stream"}

// Printer prints results. Form is one of Forms.
type Printer struct {
	Form  string
	Query string // JMESPath; "" is none
	Title string // of tables: the operation
	// Order is where members come in JSON, in the order of the API model; others follow.
	Order []string
	Color bool // of tables
	Width int  // columns of the terminal; tables that are wider are turned. 0: 80
}

// QueryError says that a query is no JMESPath, or cannot be applied.
type QueryError struct {
	Query string
	Err   error
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("Bad value for --query %s: Bad jmespath expression: %v", e.Query, e.Err)
}

func (e *QueryError) Unwrap() error { return e.Err }

// Check tells whether the query can be understood. Error: *QueryError.
func (p Printer) Check() error {
	if p.Query == "" {
		return nil
	}
	if _, err := jmespath.Compile(literals(p.Query)); err != nil {
		return &QueryError{p.Query, err}
	}
	return nil
}

// Print writes one result. An empty object is an operation without a result, and prints nothing. Error: *QueryError,
// or that of the writer.
func (p Printer) Print(w io.Writer, result any) error {
	if p.Query != "" {
		var err error
		if result, err = jmespath.Search(literals(p.Query), floats(result)); err != nil {
			return &QueryError{p.Query, err}
		}
	}
	var b strings.Builder
	if m, ok := result.(map[string]any); !ok || len(m) > 0 {
		switch p.Form {
		case "text":
			text{&b}.item(result, "", nil)
		case "table":
			p.table(&b, result)
		case "yaml":
			writeYAML(&b, result)
		case "yaml-stream":
			writeYAML(&b, []any{result})
		default:
			p.json(&b, result, "")
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// floats makes all numbers what JMESPath's functions understand.
func floats(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = floats(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = floats(e)
		}
		return out
	case int:
		return float64(v)
	case int32:
		return float64(v)
	}
	return v
}

// sortedKeys are in the order of text, tables and YAML.
func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// keys are in the order of JSON: that of the query, if it made this object, else that of the model.
func (p Printer) keys(m map[string]any) []string {
	keys := sortedKeys(m)
	place := make(map[string]int, len(keys))
	for _, k := range keys {
		if place[k] = slices.Index(p.Order, k); place[k] < 0 {
			place[k] = len(p.Order)
		}
	}
	if asked, ok := p.askedFor(keys); ok {
		place = asked
	}
	slices.SortStableFunc(keys, func(a, b string) int { return place[a] - place[b] })
	return keys
}

// askedFor finds where the query names each of the keys, as in {id: tunnelId, state: status}.
func (p Printer) askedFor(keys []string) (map[string]int, bool) {
	if p.Query == "" {
		return nil, false
	}
	squeezed := "," + strings.NewReplacer(" ", "", "\t", "", "\n", "", "{", ",", `"`, "").Replace(p.Query)
	place := make(map[string]int, len(keys))
	for _, k := range keys {
		i := strings.Index(squeezed, ","+k+":")
		if i < 0 {
			return nil, false
		}
		place[k] = i
	}
	return place, true
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

func number(v any) (string, bool) {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case int32:
		return strconv.Itoa(int(v)), true
	}
	return "", false
}

// word is a scalar as text and tables show it.
func word(v any) string {
	if n, ok := number(v); ok {
		return n
	}
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return v
	}
	return fmt.Sprint(v)
}
