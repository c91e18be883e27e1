package hint

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestOfFindsTheOutermostAdvice(t *testing.T) {
	inner := Wrap(io.EOF, "plug it in")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"none":      {io.EOF, ""},
		"nil":       {nil, ""},
		"direct":    {inner, "plug it in"},
		"wrapped":   {fmt.Errorf("read: %w", inner), "plug it in"},
		"outermost": {Wrap(fmt.Errorf("read: %w", inner), "call support"), "call support"},
		"empty":     {Wrap(inner, ""), "plug it in"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Of(c.err); got != c.want {
				t.Errorf("Of = %q, want %q", got, c.want)
			}
		})
	}
}

func TestWrapKeepsTheErrorAsItIs(t *testing.T) {
	err := Wrap(io.EOF, "plug it in")
	if err.Error() != "EOF" || !errors.Is(err, io.EOF) {
		t.Errorf("Wrap changed the error to %v", err)
	}
	if Wrap(nil, "plug it in") != nil {
		t.Error("advice made an error of nil")
	}
}

func TestPrintWritesAnErrorLineAndHintLines(t *testing.T) {
	var b strings.Builder
	Print(&b, New("no such thing", "run culvert ls\nor open the console"))
	want := "error: no such thing\nhint: run culvert ls\nhint: or open the console\n"
	if b.String() != want {
		t.Errorf("Print wrote %q, want %q", b.String(), want)
	}
}
