package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/culvert-iot/culvert/internal/clean"
)

// Problem says what keeps a program from starting, as far as its first line tells; "" if nothing does.
func Problem(name string) string {
	first := firstLine(name)
	line, script := strings.CutPrefix(first, "#!")
	var err error
	switch {
	case script:
		interpreter, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, missing := os.Stat(interpreter); missing != nil {
			err = syscall.ENOENT
		}
	case first != "" && !strings.HasPrefix(first, "\x7fELF"):
		err = syscall.ENOEXEC
	}
	return cannotStart(name, err)
}

// cannotStart says what to do about a file that exists, is executable and cannot be run; "" if it does not know.
// The system's own errors do not name the cause. Commands in it have no backslash, which the log would double.
func cannotStart(name string, err error) string {
	first := firstLine(name)
	line, script := strings.CutPrefix(first, "#!")
	switch {
	case script && strings.HasSuffix(line, "\r"):
		return fmt.Sprintf("its lines end with carriage returns: sed -i 's/[[:cntrl:]]$//' %s", name)
	case script && errors.Is(err, syscall.ENOENT):
		interpreter, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		return "its first line names the interpreter " + clean.Line(interpreter, maxOutput) + ", which does not exist: install it, or correct the line"
	case strings.HasPrefix(first, "\x7fELF") && errors.Is(err, syscall.ENOENT):
		return "the program needs a dynamic loader that this system lacks: use one that was built for this system"
	case strings.HasPrefix(first, "\x7fELF") && errors.Is(err, syscall.ENOEXEC):
		return "the program was built for another processor: use one that was built for this system"
	case strings.HasPrefix(first, "\xef\xbb\xbf#!"):
		return fmt.Sprintf("the file begins with a byte order mark: sed -i '1s/^[^#]*//' %s", name)
	case errors.Is(err, syscall.ENOEXEC):
		return "a script begins with the line #!/bin/sh, or with another interpreter: write it first"
	}
	return ""
}

// firstLine returns the beginning of a file, up to its first line end.
func firstLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	data, _ := io.ReadAll(io.LimitReader(f, maxOutput))
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}
