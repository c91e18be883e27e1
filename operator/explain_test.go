package operator

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/culvert-iot/culvert/internal/hint"
)

// An error and its advice may quote a file, a server or a certificate: both are shown on a terminal.
func TestWhatIsExplainedCannotSteerATerminal(t *testing.T) {
	const nasty = "a\x1b[2Jb\r\nerror: forged\u009b31m\u202e"
	for name, err := range map[string]error{
		"advice that came along": hint.Wrap(errors.New(nasty), "ask "+nasty),
		"an error around it":     fmt.Errorf("connect: %w", hint.Wrap(errors.New(nasty), "ask "+nasty)),
		"advice from here":       config.SharedConfigProfileNotExistError{Profile: nasty, Err: errors.New(nasty)},
	} {
		t.Run(name, func(t *testing.T) {
			explained := Explain(err)
			for kind, text := range map[string]string{"error": explained.Error(), "hint": hint.Of(explained)} {
				if !strings.Contains(text, "a [2Jb error: forged 31m") || strings.ContainsAny(text, "\x1b\r\n\u009b\u202e") {
					t.Errorf("%s: %q", kind, text)
				}
			}
		})
	}
}
