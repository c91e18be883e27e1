package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
)

// fileMemory is how much of the programs' files is in this process's memory, in kB.
func fileMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Skip(err)
	}
	return n
}

func TestTrimmedMemoryComesBack(t *testing.T) {
	var first, second, errs bytes.Buffer
	run([]string{"--help"}, &first, &errs)
	before := fileMemory(t)
	trimMemory()
	after := fileMemory(t)
	if after > before*3/4 {
		t.Errorf("%d kB of the program's file are in memory, %d before", after, before)
	}
	if code := run([]string{"--help"}, &second, &errs); code != 0 || second.String() != first.String() {
		t.Errorf("exit code %d, %s", code, &errs)
	}
}
