package awscli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// prompt asks for parameters that the command line does not give: all of them with --cli-auto-prompt, only those that
// are required and missing with on-partial in AWS_CLI_AUTO_PROMPT or the profile's cli_auto_prompt.
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
	if f, ok := in.(*os.File); ok {
		if _, isTerminal := TerminalWidth(f); !isTerminal {
			if g.autoPrompt {
				return usagef("--cli-auto-prompt asks on a terminal, and standard input is none")
			}
			return nil
		}
	}
	lines := bufio.NewScanner(in)
	for _, s := range r.input {
		flag := r.cmd.Flags().Lookup(s.option())
		ofThing := r.thing != "" && s.name == r.input[0].name
		if flag.Changed || ofThing || mode == "on-partial" && !s.required {
			continue
		}
		for {
			fmt.Fprintf(r.cmd.ErrOrStderr(), "--%s: %s\n> ", s.option(), flag.Usage)
			if !lines.Scan() {
				return usagef("the input ended before --%s was answered", s.option())
			}
			answer := strings.TrimSpace(lines.Text())
			if answer == "" && s.required {
				continue
			}
			if answer == "" {
				break
			}
			words := []string{answer}
			if s.isList() && !strings.HasPrefix(answer, "[") {
				words = strings.Fields(answer)
			}
			for _, w := range words {
				if err := r.cmd.Flags().Set(s.option(), w); err != nil {
					return &usageError{err}
				}
			}
			break
		}
	}
	return nil
}
