package output

import (
	"fmt"
	"io"
	"strings"
)

// Forms are the names of the forms. With off, a [Printer] writes nothing.
var Forms = []string{"json", "text", "table", "yaml", "yaml-stream", "off"}

// Printer prints results. Form is one of [Forms].
type Printer struct {
	Form  string
	Query string // JMESPath; "" prints the whole result
	Title string // of tables: the operation
	Color bool   // of tables
	Width int    // of the terminal, in columns: a wider table is turned. 0 means 80
}

// QueryError reports a query that is not JMESPath, or that cannot be applied to the result.
type QueryError struct {
	Query string
	Err   error
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("Bad value for --query %s: Bad jmespath expression: %v", e.Query, e.Err)
}

func (e *QueryError) Unwrap() error { return e.Err }

// CheckQuery parses a query. Error: [*QueryError].
func CheckQuery(text string) error {
	if _, err := compile(text); err != nil {
		return &QueryError{text, err}
	}
	return nil
}

// Print writes one result. It writes nothing for an empty object: the operation has no result. Errors: [*QueryError],
// and those of the writer.
func (p Printer) Print(w io.Writer, result any) error {
	if p.Query != "" {
		q, err := compile(p.Query)
		if err == nil {
			result, err = q.eval(q.root, result)
		}
		if err != nil {
			return &QueryError{p.Query, err}
		}
	}
	if o, ok := result.(Object); ok && len(o) == 0 || p.Form == "off" {
		return nil
	}
	var b strings.Builder
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
		writeJSON(&b, result, "")
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// word is a scalar as text and tables show it.
func word(v any) string {
	if n, ok := number(v, inText); ok {
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
