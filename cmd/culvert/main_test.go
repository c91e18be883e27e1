package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/cmd/culvert/fleet"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

// TestMain makes this test binary the command when it is started by one of its tests.
func TestMain(m *testing.M) {
	if os.Getenv("CULVERT_TEST_MAIN") != "" {
		main()
	}
	// A command that shares its tunnel would start this program as the holder.
	_ = os.Setenv(persistVariable, "0")
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), "CULVERT_TEST_MAIN=1")
	return cmd
}

func TestUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name string
		args []string
		code int
		want string // on stdout for code 0, else on stderr
	}{
		{"no command", nil, 0, "About culvert:"},
		{"help groups commands", []string{"--help"}, 0, "Try it, without an account:\n  "},
		{"help of a command", []string{"sandbox", "--help"}, 0, "Data endpoint:\n      --cutting"},
		{"version", []string{"version"}, 0, "culvert devel (commit "},
		{"version flag", []string{"--version"}, 0, "culvert devel (commit "},
		{"version in JSON", []string{"version", "--json"}, 0, `"platform":"`},
		{"completion", []string{"completion", "bash"}, 0, "complete"},
		{"an unknown command", []string{"sanbox"}, 2, "there is no command \"sanbox\"\nhint: did you mean culvert sandbox?\n"},
		{"a command with a typing error before options", []string{"list-tunels", "--output", "json"}, 2, "there is no command \"list-tunels\"\nhint: did you mean culvert list-tunnels?\n"},
		{"help on a command that is none", []string{"help", "sanbox"}, 2, "there is no command \"sanbox\"\nhint: did you mean culvert sandbox?\n"},
		{"completion for a shell that is none", []string{"completion", "bsh"}, 2, "the shells are bash, fish, powershell, zsh\nhint: culvert completion --help\n"},
		{"a thing without its option", []string{"close", "pi-1"}, 252, "Unknown options: pi-1\nhint: did you mean --thing pi-1?"},
		{"an option of a list", []string{"open-tunnel", "--thing-name", "pi-1"}, 252, "hint: the thing is part of --destination-config thingName=NAME,services=SSH; "},
		{"a command like no other", []string{"frobnicate", "-x"}, 2, "there is no command \"frobnicate\"\nhint: culvert --help\n"},
		{"a command of culvertd", []string{"status", "--json"}, 2, "there is no command \"status\"\nhint: that is culvertd's, on the device: culvertd status\n"},
		{"a flag with a typing error", []string{"connect", "--profil", "x"}, 2, "unknown flag: --profil\nhint: did you mean --profile? culvert connect --help\n"},
		{"an operation's flag with a typing error", []string{"describe", "--tunel-id", "x"}, 252, "unknown flag: --tunel-id\nhint: did you mean --tunnel-id? culvert describe-tunnel --help\n"},
		{"the version of a command", []string{"ssh", "--version"}, 0, "go1."},
		{"an unknown flag", []string{"sandbox", "--prot-api", "1"}, 2, "unknown flag: --prot-api\nhint: did you mean --port-api? culvert sandbox --help\n"},
		{"an argument too much", []string{"version", "x"}, 2, "no arguments"},
		{"a port that is none", []string{"sandbox", "--port-api", "x"}, 2, "--port-api \"x\": a whole number is needed\n"},
		{"a time without a unit", []string{"ssh", "--wait", "10", "pi-1"}, 2, "--wait \"10\": the unit is missing: write 10s for seconds\n"},
		{"a time that is none", []string{"ssh", "--persist", "1hour", "pi-1"}, 2, "--persist \"1hour\": write a number and a unit, such as"},
		{"a command without --", []string{"exec", "pi-1", "uname", "-a"}, 2, "hint: the command is written behind --, as in: culvert exec pi-1 -- uname …"},
		{"a flag of exec with a typing error", []string{"exec", "pi-1", "pi-2", "--yess", "--", "true"}, 2, "hint: did you mean --yes?"},
		{"ssh's friends", []string{"sftp", "pi-1"}, 2, "hint: culvert cp copies files; after culvert ssh-config, sftp knows the name, too\n"},
		{"rsync", []string{"rsync", "a", "pi-1:"}, 2, "hint: culvert cp copies files; rsync itself works with rsync -e 'culvert ssh'\n"},
		{"another word for ls", []string{"devices"}, 2, "hint: did you mean culvert ls?\n"},
		{"AWS IoT's word for ls", []string{"list-things"}, 2, "hint: did you mean culvert ls?\n"},
		{"the device's log", []string{"logs", "pi-1"}, 2, "hint: the log is on the device: culvert ssh THING journalctl -u culvertd\n"},
		{"the device's service", []string{"restart", "pi-1"}, 2, "hint: that is for the device: sudo systemctl restart culvertd\n"},
		{"a short form of the version", []string{"-V"}, 2, "hint: did you mean --version? culvert --help\n"},
		{"a command's version in short", []string{"ls", "-v"}, 2, "hint: did you mean --version? culvert ls --help\n"},
		{"a user as an option", []string{"ssh", "pi-1", "--user", "admin"}, 2, "hint: the user stands before the thing: culvert ssh USER@THING; culvert ssh --help\n"},
		{"a user of cp as an option", []string{"cp", "a", "pi-1:", "--user", "admin"}, 2, "hint: the user stands before the thing: culvert cp FILE USER@THING:; culvert cp --help\n"},
		{"a port of ssh", []string{"ssh", "--port", "22", "pi-1"}, 2, "hint: no port is needed, the device knows it; ssh's own option is -p; culvert ssh --help\n"},
		{"a port of cp", []string{"cp", "--port", "22", "a", "pi-1:"}, 2, "hint: no port is needed, the device knows it; culvert cp --help\n"},
		{"a thing as an option", []string{"doctor", "--thing", "pi-1"}, 2, "hint: the thing needs no option: culvert doctor THING; culvert doctor --help\n"},
		{"a thing as an option of ssh", []string{"ssh", "--thing-name", "pi-1"}, 2, "hint: the thing needs no option: culvert ssh THING; "},
		{"a name as an option", []string{"setup-thing", "--name", "pi-1"}, 2, "hint: the thing needs no option: culvert setup-thing THING; "},
		{"a thing as an option of exec", []string{"exec", "--thing", "pi-1", "--", "true"}, 2, "hint: the thing needs no option: culvert exec THING; "},
		{"a name as an option of ls", []string{"ls", "--thing", "pi-1"}, 2, "hint: the thing needs no option: culvert ls THING; "},
		{"one port of many", []string{"sandbox", "--port", "8080"}, 2, "hint: each part has a port of its own: --port-api, --port-relay, --port-mqtt, --port-mqtt-alpn, --port-admin; culvert sandbox --help\n"},
		{"a thing of a list", []string{"list", "pi-1"}, 252, "Unknown options: pi-1\nhint: did you mean --thing-name pi-1? culvert list-tunnels --help\n"},
		{"a thing of a new tunnel", []string{"open", "pi-1"}, 252, "Unknown options: pi-1\nhint: did you mean --destination-config thingName=pi-1,services=SSH? culvert open-tunnel --help\n"},
		{"a service without an address", []string{"sandbox", "--service", "SSH"}, 2, "NAME=ADDRESS"},
		{"a device twice", []string{"sandbox", "--device", "a", "--device", "a"}, 2, "--device a is given twice"},
		{"a device that is none", []string{"sandbox", "--device", "my pi"}, 2, "--device: \"my pi\" cannot be the name of a thing"},
		{"an unknown cutting", []string{"sandbox", "--cutting", "fine"}, 2, "awkward, straight or aligned"},
		{"unknown pongs", []string{"sandbox", "--pongs", "some"}, 2, "after-source, always or never"},
		{"an ending that is none", []string{"sandbox", "--ending", "999"}, 2, "1000 to 4999"},
		{"an ending that may not be sent", []string{"sandbox", "--ending", "1006"}, 2, "1000 to 4999"},
		{"an ending with too much reason", []string{"sandbox", "--ending", "1000:" + strings.Repeat("x", 124)}, 2, "123"},
		{"a status that is none", []string{"sandbox", "--refusal-status", "200"}, 2, "--refusal-status 200"},
		{"an API status that is none", []string{"sandbox", "--api-error-status", "600"}, 2, "--api-error-status 600"},
		{"a negative delay", []string{"sandbox", "--notify-delay", "-1s"}, 2, "negative"},
		{"a negative repeat", []string{"sandbox", "--notify-repeat", "-1s"}, 2, "negative"},
		{"a level that is none", []string{"sandbox", "--log-level", "loud"}, 2, "--log-level"},
		{"a policy that is not there", []string{"sandbox", "--policy", missing}, 2, missing},
		{"a start that fails", []string{"sandbox", "--account", "1"}, 1, "12 digits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(tt.args, &stdout, &stderr)
			text := stdout.String()
			if tt.code != 0 {
				text = stderr.String()
				if stdout.Len() > 0 {
					t.Errorf("an error wrote to standard output: %q", &stdout)
				}
			}
			if code != tt.code || !strings.Contains(text, tt.want) {
				t.Errorf("exit %d, %q; want %d with %q", code, text, tt.code, tt.want)
			}
		})
	}
}

// Each command's help fits a terminal of 80 columns, has an example, and -h shows it.
func TestEachCommandHasHelpAnExampleAndAVersion(t *testing.T) {
	commands := [][]string{{"--help"}}
	for _, c := range newRoot().Commands() {
		if !c.Hidden {
			commands = append(commands, []string{c.Name(), "-h"})
		}
	}
	for _, args := range commands {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code != 0 {
			t.Errorf("%v: exit %d, %s", args, code, &stderr)
		}
		if !strings.Contains(stdout.String(), "Example") && args[0] != "version" {
			t.Errorf("%v has no example", args)
		}
		for line := range strings.Lines(stdout.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
				t.Errorf("%v: %d columns: %s", args, n, line)
			}
		}
		stdout.Reset()
		if code := run([]string{args[0], "--version"}, &stdout, &stderr); args[0] != "--help" && (code != 0 || !strings.Contains(stdout.String(), "go1.")) {
			t.Errorf("%v --version: exit %d, %q", args, code, &stdout)
		}
	}
}

// startSandbox starts the command and returns its first line, and a function that ends it with a signal.
func startSandbox(t *testing.T, args ...string) (out *bufio.Reader, end func(os.Signal) (code int, stderr string)) {
	t.Helper()
	cmd := command(t, append([]string{"sandbox"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return bufio.NewReader(pipe), func(sig os.Signal) (int, string) {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, pipe)
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode(), errs.String()
	}
}

func TestSandboxInJSON(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := filepath.Join(t.TempDir(), "a dir")
		out, end := startSandbox(t, "--json", "--dir", dir, "--thing", "a", "--thing", "b", "--service", "VNC=10.0.0.7:5900", "--region", "cn-north-1")
		line, err := out.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var got sandbox.Addresses
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if got.Dir != dir || got.Region != "cn-north-1" || got.CAFile != filepath.Join(dir, "ca.pem") || len(got.Devices) != 2 || got.Devices[0].Thing != "a" {
			t.Errorf("addresses %+v", got)
		}
		for _, address := range []string{got.API, got.Relay, got.MQTT, got.MQTTALPN, got.Admin} {
			if !strings.Contains(address, "127.0.0.1:") {
				t.Errorf("address %q in %s", address, line)
			}
		}
		text, err := os.ReadFile(got.Devices[0].ConfigFile)
		if err != nil || !strings.Contains(string(text), `VNC = "10.0.0.7:5900"`) || strings.Contains(string(text), "SSH") {
			t.Errorf("configuration: %v\n%s", err, text)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, got.Admin+"/state", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if code, stderr := end(sig); code != 0 {
			t.Errorf("%v: exit %d, %s", sig, code, stderr)
		}
	}
}

func TestSandboxSaysWhatToTypeNext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a dir")
	out, end := startSandbox(t, "--dir", dir)
	var text strings.Builder
	for !strings.Contains(text.String(), "Ctrl-C") {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after\n%s", err, &text)
		}
		text.WriteString(line)
	}
	for _, want := range []string{
		"not for production", "culvertd --config '" + filepath.Join(dir, "culvertd.toml") + "'\n",
		"aws iotsecuretunneling open-tunnel --endpoint-url http://127.0.0.1:", "--destination-config thingName=pi-1,services=SSH\n",
		"AWS_DEFAULT_REGION=eu-west-1\n", "/state\n", `/faults/relay -d '{"do": "cut"}'`,
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if code, stderr := end(os.Interrupt); code != 0 {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// Every flag reaches the configuration.
func TestSandboxFlags(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policy, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--dir", "d", "--listen", "::1", "--advertise", "box.test", "--name", "n1", "--name", "n2", "--port-api", "1", "--port-relay", "2",
		"--port-mqtt", "3", "--port-mqtt-alpn", "4", "--port-admin", "5", "--json", "--shell", "--log-level", "debug",
		"--region", "r", "--account", "000000000000", "--thing", "t", "--service", "A=1", "--max-tunnels", "6", "--max-services", "7", "--things", "9", "--running", "4", "--device", "d1", "--device", "d2",
		"--rotation-keeps-connection", "--rotation-notifies-without-config", "--rotation-changes-services", "--rotate-before-connect-fails",
		"--client-token-survives-rotation", "--old-token-works", "12s", "--same-pair-waits", "--refusal-status", "410", "--refusal-without-body", "--refusal-reason-header",
		"--cutting", "aligned", "--seed", "8", "--pongs", "never", "--idle-timeout", "9s", "--ending", "1012:bye: now", "--ending", "none", "--ending", "bare",
		"--add-service-to-v1", "--drop-empty-data", "--mix-connections", "--notify-qos0", "--notify-delay", "10s", "--notify-repeat", "0s", "--policy", policy, "--connack-code", "7",
		"--suback-failure", "--session-expiry", "11s", "--require-sni", "--deny", "GetConnection", "--throttle-data-plane", "--unknown-is-disconnected", "--direct-by-thing-name", "--no-fleet-index",
		"--allow-unsigned", "--api-error-status", "403", "--qualified-errors",
	}
	var o sandboxOptions
	cmd := newSandboxCommand()
	flags := pflag.NewFlagSet("all", pflag.ContinueOnError)
	for _, s := range o.sections() {
		flags.AddFlagSet(s.flags)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			t.Errorf("--%s is not tested", f.Name)
		}
	})
	cmd.ResetFlags()
	cmd.Flags().AddFlagSet(flags)
	got, err := o.config(cmd)
	if err != nil {
		t.Fatal(err)
	}
	want := sandbox.Config{
		Dir: "d", Listen: "::1", Advertise: "box.test", Names: []string{"n1", "n2"}, Ports: sandbox.Ports{API: 1, Relay: 2, MQTT: 3, MQTTALPN: 4, Admin: 5},
		Region: "r", Account: "000000000000", Things: []string{"t"}, Services: map[string]string{"A": "1"}, MaxTunnels: 6, MaxServices: 7,
		AllowUnsigned: true, Policy: []byte("{}"), SessionExpiry: 11 * time.Second, RequireSNI: true,
		Relay: relay.Config{
			Cutting: relay.Aligned, Seed: 8, Pongs: relay.PongsNever, IdleTimeout: 9 * time.Second, AddServiceToV1: true, DropsEmptyData: true, MixesConnections: true,
			Endings: []relay.Ending{{Code: 1012, Reason: "bye: now"}, {}, {Bare: true}},
		},
		Notifications: sandbox.Notifications{QoS0: true, Delay: 10 * time.Second, Repeat: true},
	}
	b := &want.Behaviour
	b.RotationKeepsConnection, b.RotationNotifiesWithoutConfig, b.RotationChangesServices = true, true, true
	b.RotateBeforeConnectFails, b.ClientTokenSurvivesRotation, b.SamePairWaits = true, true, true
	b.OldTokenWorks = 12 * time.Second
	b.RefusalStatus, b.RefusalWithoutBody, b.RefusalReasonHeader = 410, true, true
	want.API.ErrorStatus, want.API.QualifiedTypes = 403, true
	want.MQTT.ConnackCode, want.MQTT.SubackFailure, want.MQTT.DirectByThingName = 7, true, true
	want.NoFleetIndex = true
	want.DataPlane = dataplane.Behaviour{Denied: []string{"GetConnection"}, Throttled: true, UnknownIsDisconnected: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if !slices.Equal(o.devices, []string{"d1", "d2"}) {
		t.Errorf("--device is lost: %v", o.devices)
	}
	if !o.json || o.plan() != (fleet.Plan{Things: 9, Running: 4}) {
		t.Errorf("--json, --things or --running is lost: %v, %+v", o.json, o.plan())
	}
}

// The flags' defaults are those of the zero configuration.
func TestSandboxDefaults(t *testing.T) {
	var o sandboxOptions
	o.sections()
	got, err := o.config(newSandboxCommand())
	if err != nil {
		t.Fatal(err)
	}
	want := sandbox.Config{
		Listen: "127.0.0.1", Region: "eu-west-1", Account: "123456789012", Things: []string{"pi-1"}, MaxServices: 3,
		Services: map[string]string{"SSH": "22", "HTTP": "8080"}, SessionExpiry: time.Hour, Relay: relay.Config{IdleTimeout: time.Minute},
	}
	want.Behaviour.RefusalStatus, want.API.ErrorStatus = 400, 400
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}
