package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/culvert-iot/culvert/sandbox"
)

// addresses are as long as those of a sandbox without --dir.
var addresses = sandbox.Addresses{
	API: "http://127.0.0.1:45678", Relay: "wss://127.0.0.1:45678", MQTT: "127.0.0.1:45678", MQTTALPN: "127.0.0.1:45678",
	Admin: "http://127.0.0.1:45678", Region: "eu-west-1", CAFile: "/tmp/culvert-sandbox-1234567890/ca.pem",
	Devices: []sandbox.Device{{Thing: "pi-1", ConfigFile: "/tmp/culvert-sandbox-1234567890/culvertd.toml"}},
}

func TestSandboxGreetingFitsATerminal(t *testing.T) {
	for name, text := range map[string]string{
		"signed":   greeting(addresses, programNames{"bin/culvert", "bin/culvertd"}, false, syntaxOn("linux")),
		"unsigned": greeting(addresses, programNames{"culvert", "culvertd"}, true, syntaxOn("linux")),
		"shell":    shellGreeting(addresses, syntaxOn("linux")),
	} {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) > 23 { // and the cursor's
			t.Errorf("%s: %d lines", name, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > 79 && !strings.Contains(l, "--no-sign-request") {
				t.Errorf("%s: %d columns: %s", name, utf8.RuneCountInString(l), l)
			}
		}
	}
}

func TestUnsignedAdviceNeedsNoCredentials(t *testing.T) {
	text := greeting(addresses, programNames{"culvert", "culvertd"}, true, syntaxOn("linux"))
	if strings.Contains(text, "AWS_ACCESS_KEY_ID") || !strings.Contains(text, "--endpoint-url "+addresses.API+" --no-sign-request --region eu-west-1 \\\n") {
		t.Errorf("advice:\n%s", text)
	}
}

func TestSandboxGreetingOnWindows(t *testing.T) {
	a := addresses
	a.CAFile, a.Devices = `C:\Users\A B\ca.pem`, []sandbox.Device{{Thing: "pi-1", ConfigFile: `C:\Users\A B\culvertd.toml`}}
	text := greeting(a, programNames{"culvert", "culvertd"}, false, syntaxOn("windows")) + shellGreeting(a, syntaxOn("windows"))
	for _, want := range []string{
		"  set AWS_DEFAULT_REGION=eu-west-1\n", "  set AWS_CA_BUNDLE=C:\\Users\\A B\\ca.pem\n",
		"  culvertd --config \"C:\\Users\\A B\\culvertd.toml\"\n", "  start /b culvertd --config \"C:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestSandboxShellKeepsWindowsPath(t *testing.T) {
	env, err := shellEnvironment("windows", []string{`Path=C:\Windows`, "Aws_Profile=production"}, addresses, "")
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(env, "\n"); !strings.Contains(text, `C:\Windows`) || strings.Contains(text, "Path=") || strings.Contains(text, "production") {
		t.Errorf("environment:\n%s", text)
	}
}

func TestProgramsAreNamedAsTyped(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("bin", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := namesAsTyped("bin/culvert"); got != (programNames{"bin/culvert", "culvertd"}) {
		t.Errorf("without a daemon beside it: %v", got)
	}
	if err := os.WriteFile("bin/culvertd", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]programNames{
		"culvert":       {"culvert", "culvertd"},
		"bin/culvert":   {"bin/culvert", "bin/culvertd"},
		"./bin/culvert": {"./bin/culvert", "./bin/culvertd"},
	} {
		if got := namesAsTyped(typed); got != want {
			t.Errorf("%s: %v, want %v", typed, got, want)
		}
	}
}

func TestSandboxShellHasTheEnvironmentAndItsExitCode(t *testing.T) {
	for _, c := range []struct {
		script string
		code   int
	}{{"exit 0", 0}, {"exit 7", 7}, {"kill -INT $PPID; exit 3", 3}} {
		cmd := command(t, "sandbox", "--shell")
		cmd.Env = append(cmd.Environ(), "SHELL=/bin/sh", "AWS_PROFILE=production", "AWS_SESSION_TOKEN=old", "AWS_REGION=us-east-1")
		cmd.Stdin = strings.NewReader(`set -e
echo "profile ${AWS_PROFILE-none} session ${AWS_SESSION_TOKEN-none} region $AWS_REGION $AWS_DEFAULT_REGION"
echo "endpoints $AWS_ENDPOINT_URL $CULVERT_DATA_ENDPOINT"
test -s "$AWS_CA_BUNDLE" && echo "path ${PATH%%:*}"
` + c.script + "\n")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != c.code || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, standard error %q", c.script, code, &stderr)
		}
		for _, want := range []string{
			"profile none session none region eu-west-1 eu-west-1\n", "endpoints http://127.0.0.1:", " wss://127.0.0.1:",
			"path " + filepath.Dir(cmd.Path) + "\n", "culvertd --config ",
		} {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%s: no %q in\n%s", c.script, want, &stdout)
			}
		}
	}
}
