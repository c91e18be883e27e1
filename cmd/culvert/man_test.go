package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestEveryCommandHasAManualPage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	var out, errs bytes.Buffer
	if code := run([]string{"man", dir}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	for _, cmd := range newRoot().Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		page, err := os.ReadFile(filepath.Join(dir, "culvert-"+cmd.Name()+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(page), ".TH") || !bytes.Contains(page, []byte("SYNOPSIS")) {
			t.Errorf("the page of %s is none", cmd.Name())
		}
		for _, alias := range cmd.Aliases {
			if !strings.Contains(string(page), "Short name: culvert "+alias) {
				t.Errorf("the page of %s lacks its short name", cmd.Name())
			}
		}
		text := strings.ReplaceAll(string(page), `\-`, "-")
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(text, "--"+f.Name) {
				t.Errorf("the page of %s lacks --%s", cmd.Name(), f.Name)
			}
		})
	}
}
