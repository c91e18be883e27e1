package awscli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/culvert-iot/culvert/internal/terminal"
)

// prompt asks for parameters that the command line lacks: all of them with --cli-auto-prompt, only the required ones with
// on-partial in AWS_CLI_AUTO_PROMPT or the profile's cli_auto_prompt.
func (r *run) prompt(settings map[string]string) error {
	g := &r.globals
	mode := os.Getenv("AWS_CLI_AUTO_PROMPT")
	if mode == "" {
		mode = settings["cli_auto_prompt"]
	}
	if g.autoPrompt {
		mode = "on"
	}
	if g.noAutoPrompt || mode != "on" && mode != "on-partial" || g.given("cli-input-json") || g.given("cli-input-yaml") || g.given("generate-cli-skeleton") {
		return nil
	}
	in := r.cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && !terminal.Is(f) {
		if g.autoPrompt {
			return usagef("--cli-auto-prompt asks on a terminal, and standard input is not one")
		}
		return nil
	}
	lines := readLines(in)
	for _, s := range r.input {
		flag := r.cmd.Flags().Lookup(s.option())
		ofThing := r.thing != "" && s.name == r.input[0].name
		if flag.Changed || ofThing || mode == "on-partial" && !s.required {
			continue
		}
		answer := ""
		for asked := false; !asked || answer == "" && s.required; asked = true {
			fmt.Fprintf(r.cmd.ErrOrStderr(), "--%s: %s\n> ", s.option(), flag.Usage)
			var more bool
			select {
			case answer, more = <-lines:
			case <-r.cmd.Context().Done():
				return r.cmd.Context().Err()
			}
			if !more {
				return usagef("the input ended before --%s was answered", s.option())
			}
		}
		words := []string{answer}
		if s.kind == listKind && !strings.HasPrefix(answer, "[") {
			words = strings.Fields(answer)
		}
		for _, w := range words {
			if answer == "" {
				break
			}
			if err := r.cmd.Flags().Set(s.option(), w); err != nil {
				return &usageError{err}
			}
		}
	}
	return nil
}

// readLines reads beside its caller, which can then be interrupted. The goroutine ends with the input or the process.
func readLines(in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			lines <- strings.TrimSpace(scanner.Text())
		}
	}()
	return lines
}
