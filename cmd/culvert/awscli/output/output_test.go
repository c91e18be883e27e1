package output

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// described is an answer of DescribeTunnel, shortened.
const described = `{"tunnel": {"tunnelId": "t-1", "status": "OPEN", "description": "a: b",
	"destinationConfig": {"thingName": "pi-1", "services": ["SSH", "HTTP"]}, "timeoutConfig": {"maxLifetimeTimeoutMinutes": 720},
	"tags": [{"key": "a", "value": "b"}, {"key": "c d", "value": ""}], "createdAt": "2026-11-23T13:08:32.135000+00:00"}}`

func print(t *testing.T, p Printer, result string) string {
	t.Helper()
	v, err := Decode(result)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := p.Print(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What is wanted here is what the AWS CLI 2.9 prints.
func TestForms(t *testing.T) {
	tests := []struct {
		name   string
		p      Printer
		result string
		want   string
	}{
		{"JSON in the order of the result", Printer{Form: "json"}, described, `{
    "tunnel": {
        "tunnelId": "t-1",
        "status": "OPEN",
        "description": "a: b",
        "destinationConfig": {
            "thingName": "pi-1",
            "services": [
                "SSH",
                "HTTP"
            ]
        },
        "timeoutConfig": {
            "maxLifetimeTimeoutMinutes": 720
        },
        "tags": [
            {
                "key": "a",
                "value": "b"
            },
            {
                "key": "c d",
                "value": ""
            }
        ],
        "createdAt": "2026-11-23T13:08:32.135000+00:00"
    }
}
`},
		{"text, sorted, with the names of what is nested", Printer{Form: "text"}, described, "TUNNEL\t2026-11-23T13:08:32.135000+00:00\ta: b\tOPEN\tt-1\n" +
			"DESTINATIONCONFIG\tpi-1\nSERVICES\tSSH\nSERVICES\tHTTP\nTAGS\ta\tb\nTAGS\tc d\t\nTIMEOUTCONFIG\t720\n"},
		{"YAML, sorted", Printer{Form: "yaml"}, described, `tunnel:
  createdAt: '2026-11-23T13:08:32.135000+00:00'
  description: 'a: b'
  destinationConfig:
    services:
    - SSH
    - HTTP
    thingName: pi-1
  status: OPEN
  tags:
  - key: a
    value: b
  - key: c d
    value: ''
  timeoutConfig:
    maxLifetimeTimeoutMinutes: 720
  tunnelId: t-1
`},
		{"a stream of YAML is a list", Printer{Form: "yaml-stream"}, `{"a": {"b": []}, "c": {}}`, "- a:\n    b: []\n  c: {}\n"},
		{"a table that is wide enough", Printer{Form: "table", Title: "ListTagsForResource"}, `{"tags": [{"key": "a", "value": "b"}, {"key": "c d"}]}`, `---------------------
|ListTagsForResource|
+-------------------+
||      tags       ||
|+------+----------+|
||  key |  value   ||
|+------+----------+|
||  a   |  b       ||
||  c d |          ||
|+------+----------+|
`},
		{"a table that is turned", Printer{Form: "table", Title: "T", Width: 20}, `{"a": {"first": "1234567890", "second": "b"}}`, `----------------------------
|             T            |
+--------------------------+
||            a           ||
|+---------+--------------+|
||  first  |  1234567890  ||
||  second |  b           ||
|+---------+--------------+|
`},
		{"nothing at all", Printer{Form: "json"}, `{}`, ""},
		{"nothing in a stream", Printer{Form: "yaml-stream"}, `{}`, ""},
		{"numbers without digits in JSON", Printer{Form: "json"}, `[1e400, -1e400, 1180591620717411303424]`, "[\n    Infinity,\n    -Infinity,\n    1180591620717411303424\n]\n"},
		{"numbers without digits in text", Printer{Form: "text"}, `[1e400, -1e400, 1180591620717411303424]`, "inf\t-inf\t1180591620717411303424\n"},
		{"numbers without digits in YAML", Printer{Form: "yaml"}, `[1e400, -1e400, 1180591620717411303424]`, "- .inf\n- -.inf\n- 1180591620717411303424\n"},
		{"null in JSON", Printer{Form: "json", Query: "nope"}, `{"a": 1}`, "null\n"},
		{"null in text", Printer{Form: "text", Query: "nope"}, `{"a": 1}`, "None\n"},
		{"null in a table", Printer{Form: "table", Query: "nope"}, `{"a": 1}`, ""},
		{"null in YAML", Printer{Form: "yaml", Query: "nope"}, `{"a": 1}`, "null\n"},
		{"a lone string in YAML", Printer{Form: "yaml", Query: "a"}, `{"a": "OPEN"}`, "\"OPEN\"\n"},
		{"lists of lists in text", Printer{Form: "text", Query: "t[].[id, up]"}, `{"t": [{"id": "x", "up": true}, {"id": "y"}]}`, "x\tTrue\ny\tNone\n"},
		{"members in the order of a query", Printer{Form: "json", Query: "{status: s, tunnelId: i}"}, `{"s": 1.5, "i": "x"}`, "{\n    \"status\": 1.5,\n    \"tunnelId\": \"x\"\n}\n"},
		{"a literal without quotes", Printer{Form: "text", Query: "t[?s==`OPEN`].i"}, `{"t": [{"s": "OPEN", "i": "x"}, {"s": "CLOSED", "i": "y"}]}`, "x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.p.Query != "" {
				if err := CheckQuery(tt.p.Query); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, print(t, tt.p, tt.result)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestColours(t *testing.T) {
	got := print(t, Printer{Form: "table", Title: "T", Color: true}, `{"a": {"k": "v"}}`)
	for _, want := range []string{"\x1b[1m\x1b[34mv\x1b[0m", "\x1b[2m\x1b[33m|\x1b[0m"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

func TestQueriesThatAreNone(t *testing.T) {
	for _, query := range []string{"[", "a[?b", "`", "'", "a ||", "", " ", "a + b", "$.a", "let $x = a in $x", "a-b"} {
		if err := CheckQuery(query); err == nil || !strings.Contains(err.Error(), "Bad value for --query "+query) {
			t.Errorf("%s: %v", query, err)
		}
	}
	if err := (Printer{Query: "floor(`1e400`)"}).Print(&strings.Builder{}, Object{}); err == nil {
		t.Error("the integer of what is infinite")
	}
	if err := (Printer{Query: "length(a)"}).Print(&strings.Builder{}, Object{{"a", int64(1)}}); err == nil {
		t.Error("the length of a number")
	}
}

func TestLiterals(t *testing.T) {
	for query, want := range map[string]string{
		"a[?b==`OPEN`]":      `[{"b":"OPEN"}]`,
		"a[?b==` x y`]":      `[{"b":"x y"}]`,
		"`1` == `\"x\"`":     `false`,
		"'`x`'":              "\"`x`\"",
		"\"`x`\".a":          `1`,
		"'it\\'s' == `true`": `false`,
		"`it\\`s`":           "\"it`s\"",
		"`{\"b\":[1,1.0]}`":  `{"b":[1,1.0]}`,
	} {
		q, err := compile(query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		v, err := Decode("{\"a\":[{\"b\":\"OPEN\"},{\"b\":\"x y\"}],\"`x`\":{\"a\":1}}")
		if err != nil {
			t.Fatal(err)
		}
		if v, err = q.eval(q.root, v); err != nil || compactJSON(v) != want {
			t.Errorf("%s = %s, %v; want %s", query, compactJSON(v), err, want)
		}
	}
}

// TestWhatTheAWSCLIAnswers has queries that JMESPath implementations answer differently, with the AWS CLI's answers.
func TestWhatTheAWSCLIAnswers(t *testing.T) {
	for query, want := range map[string]string{
		"a[?b<'2024-01-01'].b":  `["2023-12-31"]`,
		"a[?b>='2024-01-01'].b": `["2024-01-01"]`,
		"avg(`[]`)":             `null`,
		"avg(`[1,2]`)":          `1.5`,
		"sum(`[]`)":             `0`,
		"`5.0`":                 `5.0`,
		"`5`":                   `5`,
		"max(a[].b)":            `"2024-01-01"`,

		// Numbers are Python's: integers have no limit, fractions may be infinite.
		"`1e400`":                        `Infinity`,
		"[`-1e400`, abs(`-1e400`)]":      `[-Infinity,Infinity]`,
		"`1e400` == `1e401`":             `true`,
		"sum([`1e400`, `-1e400`])":       `NaN`,
		"`9223372036854775808`":          `9223372036854775808`,
		"abs(`-9223372036854775808`)":    `9223372036854775808`,
		"sum(`[9223372036854775807,1]`)": `9223372036854775808`,
		"avg(`[9223372036854775807,1]`)": `4.611686018427388e+18`,
		"`123456789012345678901234567890` > `123456789012345678901234567889`": `true`,
		"`9007199254740993` == `9007199254740992.0`":                          `false`,
		"`9223372036854775808` == `9223372036854775808.0`":                    `true`,
		"sort(`[9223372036854775809,9223372036854775808,3.5]`)":               `[3.5,9223372036854775808,9223372036854775809]`,
		"floor(`1e19`)":      `10000000000000000000`,
		"ceil(`-0.5`)":       `0`,
		"type(`1e400`)":      `"number"`,
		"to_string(`1e400`)": `"Infinity"`,

		"to_number('1_000')":                `1000`,
		"to_number('1_000.5')":              `1000.5`,
		"to_number('1__0')":                 `null`,
		"to_number('_1')":                   `null`,
		"to_number('1._5')":                 `null`,
		"to_number('0x1p-2')":               `null`,
		"to_number('inf')":                  `Infinity`,
		"to_number('-Infinity')":            `-Infinity`,
		"to_number('+nan')":                 `NaN`,
		"to_number('nan') == `1`":           `false`,
		"to_number('nan') >= `1`":           `false`,
		"to_number('99999999999999999999')": `99999999999999999999`,

		// Within lists and objects a boolean is a number of Python's.
		"contains(`[1]`, `true`)":        `true`,
		"contains(`[0.0]`, `false`)":     `true`,
		"contains(`[2]`, `true`)":        `false`,
		"contains(`[[1]]`, `[true]`)":    `true`,
		"`1` == `true`":                  `false`,
		"`[1]` == `[true]`":              `true`,
		"`{\"a\":0}` == `{\"a\":false}`": `true`,
	} {
		q, err := compile(query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		v, err := Decode(`{"a":[{"b":"2023-12-31"},{"b":"2024-01-01"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = q.eval(q.root, v); err != nil || compactJSON(v) != want {
			t.Errorf("%s = %s, %v; want %s", query, compactJSON(v), err, want)
		}
	}
}

// Whatever the strings are, YAML and JSON that are read again are what was written.
func TestStringsSurvive(t *testing.T) {
	words := []string{
		"yes", "1", "a: b", "- x", "", "#x", "null", "1e3", "~", "a\nb", "ü", "it's", " x", "x ", "*a", "0x1", "a #b", "12:30", "x:", "=", "<<",
		"2026-01-01", "\t", "@a", "a,b", "?", "? a", "-", "-a", "[a", "}", "!x", "%a", ".5", "\x1b[0m", "|", ">", "\"", "\\", "`", "\u2028", "true", "---", "...", "&a",
	}
	for _, form := range []string{"json", "yaml"} {
		for _, w := range words {
			result := map[string]any{"k": w, "l": []any{w, map[string]any{"m": w}}}
			written := Object{{"k", w}, {"l", []any{w, Object{{"m", w}}}}}
			var b strings.Builder
			if err := (Printer{Form: form}).Print(&b, written); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := yaml.Unmarshal([]byte(b.String()), &got); err != nil {
				t.Errorf("%q as %s: %v\n%s", w, form, err, &b)
			} else if diff := cmp.Diff(result, got); diff != "" {
				t.Errorf("%q as %s (-want +got):\n%s", w, form, diff)
			}
		}
	}
}

func FuzzPrint(f *testing.F) {
	f.Add(described, "tunnel.tags[?key==`a`]", 2)
	f.Add(`[[1,"a"],2,{"x":[]},null,[{}]]`, "", 2)
	f.Add(`{"a":[{"b":{"c":1}},{"d":[[]]}]}`, "", 1)
	f.Fuzz(func(t *testing.T, result, query string, form int) {
		v, err := Decode(result)
		if err != nil || query != "" && CheckQuery(query) != nil {
			return
		}
		p := Printer{Form: Forms[(form&0xff)%len(Forms)], Query: query, Width: 40}
		if err := p.Print(&strings.Builder{}, v); err != nil {
			if _, ok := errors.AsType[*QueryError](err); !ok {
				t.Errorf("%v", err)
			}
		}
	})
}
