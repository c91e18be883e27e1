package main

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func TestLogLines(t *testing.T) {
	tests := []struct {
		name, format string
		times        bool
		want         string
	}{
		{"text for a terminal", "text", true, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO  tunnel ended session=ab error="two words" group\.k=1\n` +
			`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARN  alone\n$`},
		{"text under systemd", "text", false, `^INFO  tunnel ended session=ab error="two words" group\.k=1\nWARN  alone\n$`},
		{"json for a file", "json", true, `^{"time":"[^"]+","level":"INFO","msg":"tunnel ended","session":"ab","error":"two words","group":{"k":1}}\n` +
			`{"time":"[^"]+","level":"WARN","msg":"alone"}\n$`},
		{"json under systemd", "json", false, `^{"level":"INFO","msg":"tunnel ended","session":"ab","error":"two words","group":{"k":1}}\n{"level":"WARN","msg":"alone"}\n$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			level := new(slog.LevelVar)
			log := newLogger(&b, tt.format, level, tt.times)
			log.With("session", "ab").Info("tunnel ended", "error", "two words", slog.Group("group", "k", 1))
			log.Debug("not now")
			log.Warn("alone")
			if !regexp.MustCompile(tt.want).MatchString(b.String()) {
				t.Errorf("got\n%swant\n%s", b.String(), tt.want)
			}
			b.Reset()
			level.Set(slog.LevelDebug)
			log.Debug("now")
			if b.Len() == 0 {
				t.Error("the level cannot be changed")
			}
		})
	}
}

func TestUntrustedTextStaysOnItsLineAndSteersNoTerminal(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		newLogger(&b, format, new(slog.LevelVar), false).Info("x", "error", "a\nERROR forged\x1b[2J", "service", "\u009b2J\u202eb\u2028")
		if strings.Count(b.String(), "\n") != 1 || strings.ContainsAny(b.String(), "\x1b\u009b\u202e\u2028") {
			t.Errorf("%s: %q", format, b.String())
		}
	}
}

func TestStatusInJSONSteersNoTerminal(t *testing.T) {
	var b bytes.Buffer
	if err := writeJSON(&b, map[string]string{"service": "\u009b2J\u202eb"}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"service\": \"\\u009b2J\\u202eb\"\n}\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestLinesOfManyGoroutinesDoNotMix(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(&b, "text", new(slog.LevelVar), false)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			l := log.With("session", "ab")
			for range 100 {
				l.Info("tunnel lost", "error", "e")
			}
		})
	}
	all.Wait()
	for line := range strings.Lines(b.String()) {
		if line != "INFO  tunnel lost session=ab error=e\n" {
			t.Fatalf("%q", line)
		}
	}
}

func TestSystemdBringsItsOwnTime(t *testing.T) {
	for _, name := range []string{"JOURNAL_STREAM", "INVOCATION_ID"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", "")
			t.Setenv("INVOCATION_ID", "")
			if underSystemd() {
				t.Error("seen where it is not")
			}
			t.Setenv(name, "x")
			if !underSystemd() {
				t.Error("not seen")
			}
		})
	}
}
