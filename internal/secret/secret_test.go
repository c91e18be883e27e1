package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestValueNeverShowsItself(t *testing.T) {
	const content = "AQGAAXhTHE-CONTENT"
	type wrapped struct {
		Token   Value
		private Value
	}
	v := New(content)
	w := wrapped{v, v}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		for _, arg := range []any{v, &v, w, &w, []Value{v}, map[Value]int{v: 1}} {
			if got := fmt.Sprintf(verb, arg); strings.Contains(got, "CONTENT") || strings.Contains(got, fmt.Sprintf("%x", "CONTENT")) {
				t.Errorf("%s of %T shows the secret: %s", verb, arg, got)
			}
		}
	}
	js, err := json.Marshal(map[string]any{"a": v, "b": w})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l := slog.New(slog.NewTextHandler(&log, nil))
	l.Info("x", "token", v, "group", slog.GroupValue(slog.Any("t", v)), "struct", w)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", v, "struct", w)
	for _, out := range []string{string(js), log.String()} {
		if strings.Contains(out, "CONTENT") {
			t.Errorf("the secret is shown: %s", out)
		}
	}
	if !strings.Contains(log.String(), v.ID()) {
		t.Errorf("the log does not tell which token it is: %s", log.String())
	}
}

func TestFingerprintIsTheSHA256OfTheContent(t *testing.T) {
	// printf abc | sha256sum
	if got := New("abc").ID(); got != "ba7816bf" {
		t.Errorf("ID = %s", got)
	}
}
