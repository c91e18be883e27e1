//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
)

// completions are what a shell must offer for a line.
var completions = []struct {
	line string
	want []string
}{
	{"culvert rota", []string{"rotate-tunnel-access-token"}},
	{"culvert rotate --client-mode ", []string{"ALL", "DESTINATION", "SOURCE"}},
	{"culvert describe-tunnel --output ", []string{"json", "off", "table", "text", "yaml", "yaml-stream"}},
	{"culvert connect --destination-client-type ", []string{"V1", "V2", "V3", "auto"}},
	{"culvert ssh --take", []string{"--take-over"}},
	{"culvert proxy --mode ", []string{"destination", "source"}},
}

// TestCompletionOfThings asks the sandbox once, and gets the same names when the sandbox is gone.
func TestCompletionOfThings(t *testing.T) {
	account, err := sandbox.Start(t.Context(), sandbox.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a := account.Addresses()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "firmware.bin"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	complete := func(words ...string) string {
		t.Helper()
		cmd := command(t, append([]string{"__complete"}, words...)...)
		cmd.Dir = home
		cmd.Env = append(cmd.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "AWS_ENDPOINT_URL="+a.API, "AWS_CA_BUNDLE="+a.CAFile,
			"AWS_REGION="+a.Region, "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=thing")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for i := range 2 {
		for _, tt := range []struct {
			words []string
			want  string // in the form that all shells' scripts read: words, then 4 for no file names or 0 for file names
		}{
			{[]string{"ssh", ""}, "pi-1\n:4\n"},
			{[]string{"ssh", "root@p"}, "root@pi-1\n:4\n"},
			{[]string{"ssh", "pi-1", ""}, ":4\n"},
			{[]string{"connect", "--take-over", "pi"}, "pi-1\n:4\n"},
			{[]string{"ping", "other"}, ":4\n"},
			{[]string{"exec", "pi-1", ""}, ":4\n"},
			{[]string{"exec", "pi-2", "--", ""}, ":0\n"},
			{[]string{"describe-tunnel", "--thing", ""}, "pi-1\n:4\n"},
			{[]string{"tunnels", "--close", ""}, "pi-1\n:4\n"},
			{[]string{"cp", "firmware.bin", "p"}, "pi-1:\n:2\n"}, // no blank behind it
			{[]string{"cp", "firmware.bin", "root@p"}, "root@pi-1:\n:2\n"},
			{[]string{"cp", "f"}, ":0\n"},
			{[]string{"cp", "firmware.bin", "./p"}, ":0\n"},
			{[]string{"cp", "firmware.bin", "other"}, ":0\n"},
			{[]string{"ssh", "--service", ""}, ":4\n"},
			{[]string{"ssh", "--identity", ""}, ":0\n"},
			{[]string{"ssh", "--lifet"}, "--lifetime\ttime that an opened tunnel lasts at most, in whole minutes\n:4\n"},
		} {
			if got := complete(tt.words...); got != tt.want {
				t.Errorf("%q is completed with %q, want %q", tt.words, got, tt.want)
			}
		}
		if i == 0 {
			if err := account.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// inShell puts this program into PATH as culvert and runs a script in a shell.
func inShell(t *testing.T, shell string, flags []string, script string) string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		if os.Getenv("CULVERT_E2E") == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := fmt.Sprintf("#!/bin/sh\nCULVERT_TEST_MAIN=1 exec '%s' \"$@\"\n", self)
	if err := os.WriteFile(filepath.Join(dir, "culvert"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append(flags, script)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "TERM=dumb")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	return string(out)
}

func wantWords(t *testing.T, line, out string, want []string) {
	t.Helper()
	got := strings.Fields(out)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q is completed with %q, want %q", line, got, want)
	}
}

func TestCompletionInBash(t *testing.T) {
	for _, c := range completions {
		t.Run(c.line, func(t *testing.T) {
			words := strings.Split(c.line, " ")
			// The two functions are what bash itself and the package bash-completion have at a prompt.
			out := inShell(t, "bash", []string{"--norc", "-c"}, `
				_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
				compopt() { :; }
				source <(culvert completion bash)
				COMP_LINE='`+c.line+`' COMP_POINT=${#COMP_LINE} COMP_WORDS=('`+strings.Join(words, "' '")+`') COMP_CWORD=$((${#COMP_WORDS[@]}-1))
				__start_culvert
				printf '%s\n' "${COMPREPLY[@]}"`)
			wantWords(t, c.line, out, c.want)
		})
	}
}

func TestCompletionInFish(t *testing.T) {
	for _, c := range completions {
		t.Run(c.line, func(t *testing.T) {
			out := inShell(t, "fish", []string{"--no-config", "-c"}, "culvert completion fish | source; complete -C '"+c.line+"' | string split -f1 \\t; true")
			wantWords(t, c.line, out, c.want)
		})
	}
}

// A zsh completes on a terminal only, which another zsh gives it. Where there is one choice it types the rest.
func TestCompletionInZsh(t *testing.T) {
	for _, c := range [][2]string{
		{"culvert rota", "rotate-tunnel-access-token"}, {"culvert rotate --client-mode SOU", "SOURCE"},
	} {
		t.Run(c[0], func(t *testing.T) {
			out := inShell(t, "zsh", []string{"-f", "-c"}, `
				zmodload zsh/zpty
				zpty shell zsh -f -i
				zpty -w shell "autoload -U compinit; compinit -u -D; source <(culvert completion zsh); print loa''ded"
				zpty -r shell before '*loaded*'
				zpty -w -n shell '`+c[0]+`'$'\t'
				zpty -r -m shell line '*`+c[1]+`*'
				print -r -- "$line"
				zpty -d shell`)
			if !strings.Contains(out, c[1]) {
				t.Errorf("%q is completed as %q, want %s", c[0], out, c[1])
			}
		})
	}
}
