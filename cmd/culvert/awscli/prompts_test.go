package awscli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

func TestPrompts(t *testing.T) {
	b := newBench(t, nil)
	id := b.open("pi-1").Tunnel.ID
	out, errs, code := culvertWithInput(t, "\n"+id+"\nSOURCE\n\n", "rotate", "--cli-auto-prompt", "--endpoint-url", b.url)
	if code != 0 || !strings.Contains(out, "sourceAccessToken") || !strings.Contains(errs, "--client-mode: whose token to replace (required): SOURCE, DESTINATION, ALL\n> ") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	t.Setenv("AWS_CLI_AUTO_PROMPT", "on-partial")
	if out, errs, code = culvertWithInput(t, id+"\n", "describe", "--endpoint-url", b.url); code != 0 || !strings.Contains(out, id) {
		t.Errorf("on-partial: exit %d, %q", code, errs)
	}
	if _, errs, code = culvertWithInput(t, id+"\n", "describe", "--no-cli-auto-prompt", "--endpoint-url", b.url); code != 252 || !strings.Contains(errs, "are required: --tunnel-id") {
		t.Errorf("no prompt: exit %d, %q", code, errs)
	}
}

func TestAPromptCanBeInterrupted(t *testing.T) {
	ways := map[string]func(cancel func()){"by its caller": func(cancel func()) { cancel() }}
	if runtime.GOOS != "windows" {
		ways["by Ctrl-\\"] = func(func()) {
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Signal(syscall.SIGQUIT) // without a handler the runtime ends this test with its stacks
		}
	}
	for name, interrupt := range ways {
		t.Run(name, func(t *testing.T) { interruptPrompt(t, interrupt) })
	}
}

func interruptPrompt(t *testing.T, interrupt func(cancel func())) {
	t.Helper()
	in, typed := io.Pipe() // an input that stays silent
	defer typed.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs bytes.Buffer
	root := &cobra.Command{Use: "culvert", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands()...)
	root.SetArgs([]string{"describe", "--cli-auto-prompt"})
	root.SetIn(in)
	root.SetErr(writerFunc(func(p []byte) (int, error) {
		interrupt(cancel) // the prompt asks its question
		return len(p), nil
	}))
	code, ok := Report(&errs, root.ExecuteContext(ctx))
	if !ok || code != 130 || errs.String() != "error: interrupted\n" {
		t.Errorf("exit %d, %q", code, &errs)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestGlobalOptionsMayComeFirst(t *testing.T) {
	b := newBench(t, nil)
	for _, args := range [][]string{
		{"--endpoint-url", b.url, "list-tunnels"}, {"--debug", "--endpoint-url=" + b.url, "--output", "text", "list", "--no-paginate"},
	} {
		if _, errs, code := culvert(t, args...); code != 0 {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	if out, _, code := culvert(t, "rotate", "--version"); code != 0 || !strings.Contains(out, "go1.") {
		t.Errorf("exit %d, %q", code, out)
	}
	for _, help := range []string{"--help", "help"} {
		if out, _, code := culvert(t, "rotate", help); code != 0 || !strings.Contains(out, "--destination-config thingName=string,services=string,...\n") {
			t.Errorf("exit %d, %q", code, out)
		}
	}
}

func TestHelpFitsEightyColumns(t *testing.T) {
	for _, op := range operations {
		out, _, _ := culvert(t, op.command, "--help")
		for line := range strings.Lines(out) {
			if len([]rune(line)) > 81 { // with its line feed
				t.Errorf("%s: %s", op.command, line)
			}
		}
	}
}

func TestDebugShowsNoSecrets(t *testing.T) {
	b := newBench(t, nil)
	t.Setenv("AWS_SESSION_TOKEN", "session-secret")
	out, errs, code := culvert(t, "open", "--debug", "--endpoint-url", b.url)
	var o object
	if err := json.Unmarshal([]byte(out), &o); err != nil || code != 0 {
		t.Fatalf("exit %d, %v", code, err)
	}
	for _, want := range []string{"X-Amz-Target: IoTSecuredTunneling.OpenTunnel", "status=200", "Authorization: (hidden)", "(token "} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	for _, secret := range []string{o["sourceAccessToken"].(string), o["destinationAccessToken"].(string), "session-secret", "AKIAEXAMPLE"} {
		if strings.Contains(errs, secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, tt := range []struct{ flag, want string }{
		{"--client-mode", "SOURCE\nDESTINATION\nALL\n:4\n"}, {"--output", "json\ntext\ntable\nyaml\nyaml-stream\noff\n:4\n"},
	} {
		out, errs, code := culvert(t, "__complete", "rotate", tt.flag, "")
		if code != 0 || out != tt.want {
			t.Errorf("%s: exit %d, %q, %s", tt.flag, code, out, errs)
		}
	}
}
