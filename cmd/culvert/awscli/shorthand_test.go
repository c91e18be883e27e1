package awscli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShorthand(t *testing.T) {
	tests := []struct {
		text string
		want map[string]any // nil: an error
		err  string
	}{
		{text: "a=b", want: object{"a": "b"}},
		{text: "a=b,c=d", want: object{"a": "b", "c": "d"}},
		{text: "a=b,c", want: object{"a": []any{"b", "c"}}},
		{text: "a=b,c,d=e,f", want: object{"a": []any{"b", "c"}, "d": []any{"e", "f"}}},
		{text: "a = b , c = d ", want: object{"a": "b", "c": "d"}},
		{text: "a=", want: object{"a": ""}},
		{text: "a=,b=c", want: object{"a": "", "b": "c"}},
		{text: "a=[b,c]", want: object{"a": []any{"b", "c"}}},
		{text: "a=[ b , [c] ],d=e", want: object{"a": []any{"b", []any{"c"}}, "d": "e"}},
		{text: "a=[]", want: object{"a": []any{}}},
		{text: "a={b=c,d=[e]}", want: object{"a": object{"b": "c", "d": []any{"e"}}}},
		{text: `a="b,c",d='e f'`, want: object{"a": "b,c", "d": "e f"}},
		{text: `a="it\"s"`, want: object{"a": `it"s`}},
		{text: `a=b\,c`, want: object{"a": "b,c"}},
		{text: "a=b=c", want: object{"a": "b=c"}},
		{text: "a=für Käthe", want: object{"a": "für Käthe"}},
		{text: "a=b,ü", want: object{"a": []any{"b", "ü"}}},
		{text: "", err: "expected: '=', received: the end"},
		{text: "a", err: "expected: '='"},
		{text: "a=b,", err: "received: the end after"},
		{text: "a=b,,c", err: "expected: '='"},
		{text: "a=b,a=c", err: `second instance of key "a"`},
		{text: "a=[b", err: "expected: ','"},
		{text: "a={b=c", err: "expected: ','"},
		{text: "a='b", err: "no closing '"},
		{text: "a='b'c", err: "expected: ','"},
		{text: "a=" + strings.Repeat("[", 100), err: "too many brackets"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := parseShorthand(tt.text)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err == nil && !cmp.Equal(tt.want, got) {
				t.Errorf("(-want +got):\n%s", cmp.Diff(tt.want, got))
			}
		})
	}
}

type object = map[string]any

func TestConform(t *testing.T) {
	both := shape{kind: structureKind, members: []shape{destinationConfig, timeoutConfig}}
	parsed, err := parseShorthand("destinationConfig={services=SSH,thingName=pi},timeoutConfig={maxLifetimeTimeoutMinutes=5},other=1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := conform(parsed, both)
	want := object{
		"destinationConfig": object{"services": []any{"SSH"}, "thingName": "pi"},
		"timeoutConfig":     object{"maxLifetimeTimeoutMinutes": 5}, "other": "1",
	}
	if err != nil || !cmp.Equal(any(want), got) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(any(want), got))
	}
}

func FuzzShorthand(f *testing.F) {
	for _, s := range []string{"a=b,c,d=[e,{f=g}]", `a="b\"",c='d'`, `a=b\,c,d`, "a={", ",=,", "a=b,'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseShorthand(text)
		if err == nil && len(m) == 0 {
			t.Errorf("%q is nothing", text)
		}
		if err == nil {
			_, _ = conform(m, destinationConfig)
		}
	})
}

func TestPlacesAreReadAgain(t *testing.T) {
	token := "abc"
	for _, p := range []position{{}, {NextToken: &token}, {NextToken: &token, Skip: 3}, {Skip: 1}} {
		got, err := parsePosition(p.String())
		if err != nil || !cmp.Equal(p, got) {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	for _, s := range []string{"x", "eA==", "eyJib3RvX3RydW5jYXRlX2Ftb3VudCI6LTF9"} {
		if _, err := parsePosition(s); err == nil {
			t.Errorf("%s is a place", s)
		}
	}
	if p, err := parsePosition("eyJuZXh0VG9rZW4iOiBudWxsLCAiYm90b190cnVuY2F0ZV9hbW91bnQiOiAyfQ=="); err != nil || p.Skip != 2 { // the AWS CLI's own
		t.Errorf("%v, %v", p, err)
	}
}
