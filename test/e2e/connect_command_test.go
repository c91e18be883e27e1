package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// startServicesSite is a device with services, and an operator whose commands share tunnels if shared.
func startServicesSite(t *testing.T, shared bool, services map[string]string) *operatorSite {
	t.Helper()
	if shared && !holder.Supported {
		t.Skip("this system has no holders")
	}
	box := startSandbox(t, sandbox.Config{Services: services})
	startSubscribed(t, box)
	o := newOperatorSite(t, box)
	if shared {
		o.share(t)
	}
	return o
}

func TestConnectRunsACommand(t *testing.T) {
	t.Parallel()
	o := startServicesSite(t, true, map[string]string{"ECHO": echoServer(t), "a-web": echoServer(t)})
	connect := func(command ...string) *exec.Cmd {
		return o.culvert(t, append([]string{"connect", "--quiet", "pi-1", "ECHO", "a-web", "--"}, command...)...)
	}
	t.Run("which finds the addresses in its environment", func(t *testing.T) {
		cmd := connect("sh", "-c", `echo "$CULVERT_THING $CULVERT_ADDRESS $CULVERT_HOST:$CULVERT_PORT $CULVERT_ECHO_ADDRESS $CULVERT_A_WEB_ADDRESS"; read line; echo "$line"; exit 7`)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out, errs harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "the addresses", func() bool { return strings.Contains(out.String(), "\n") })
		f := strings.Fields(out.String())
		if len(f) != 5 || f[0] != "pi-1" || f[1] != f[2] || f[1] != f[3] || f[4] == f[1] {
			t.Fatalf("%q", f)
		}
		for _, address := range []string{f[1], f[4]} {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := exchangeByteWithin(c, 20*time.Second); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprintln(stdin, "typed")
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 7 || !strings.HasSuffix(out.String(), "\ntyped\n") || errs.String() != "" {
			t.Errorf("exit code %d, %q, %q", code, out.String(), errs.String())
		}
		if c, err := net.Dial("tcp", f[1]); err == nil {
			_ = c.Close()
			t.Error("the port outlived the command")
		}
	})
	t.Run("whose death by a signal is its exit code", func(t *testing.T) {
		if _, errs, code := runSSH(connect("sh", "-c", "kill -KILL $$")); code != 128+9 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run("which gets "+s.String(), func(t *testing.T) {
			cmd := connect("sh", "-c", fmt.Sprintf(`trap "echo got it; exit 3" %d; echo ready; while :; do sleep 0.05; done`, s))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal that would send the signal to both
			var out harness.Buffer
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, 30*time.Second, "the command runs", func() bool { return strings.Contains(out.String(), "ready") })
			_ = cmd.Process.Signal(s)
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(out.String(), "got it") {
				t.Errorf("exit code %d, %q", code, out.String())
			}
		})
	}
	t.Run("and which would not run costs no tunnel", func(t *testing.T) {
		before := o.opened()
		for want, args := range map[int][]string{
			127: {"connect", "pi-1", "NEW", "--", "no-such-program"}, 126: {"connect", "pi-1", "NEW", "--", "/"}, 2: {"connect", "pi-1", "NEW", "--"},
		} {
			if _, errs, code := runSSH(o.culvert(t, args...)); code != want || !strings.Contains(errs, "\nhint: ") {
				t.Errorf("%q: exit code %d, want %d\n%s", args, code, want, errs)
			}
		}
		if n := o.opened(); n != before {
			t.Errorf("%d tunnels were opened", n-before)
		}
	})
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
}

// eventLines are lines of culvert connect --json, with placeholders for the parts that differ each time.
func eventLines(t *testing.T, text string, replace ...string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		at, _ := e["time"].(string)
		if parsed, err := time.Parse(time.RFC3339, at); err != nil || time.Since(parsed).Abs() > time.Minute {
			t.Errorf("time %q: %v", at, err)
		}
		delete(e, "time")
		if e["text"] != nil {
			e["text"] = "TEXT"
		}
		if e["hint"] != nil {
			e["hint"] = "TEXT"
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.NewReplacer(replace...).Replace(string(b)))
	}
	return lines
}

func TestConnectSaysWhatHappensInJSON(t *testing.T) {
	for name, shared := range map[string]bool{"shared": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startServicesSite(t, shared, map[string]string{"ECHO": echoServer(t), "NONE": "127.0.0.1:1"})
			cmd := o.culvert(t, "connect", "--json", "--quiet", "pi-1", "ECHO", "NONE")
			var out, errs harness.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			has := func(event string) {
				t.Helper()
				eventually(t, 30*time.Second, event, func() bool { return strings.Contains(out.String(), `"event":"`+event+`"`) })
			}
			eventually(t, 30*time.Second, "both services listen", func() bool { return strings.Count(out.String(), `"listening"`) == 2 })
			var addresses []string
			for line := range strings.Lines(out.String()) {
				var e struct{ Address string }
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				if e.Address != "" {
					addresses = append(addresses, e.Address)
				}
			}
			first := o.open()[0].ID
			c, err := net.Dial("tcp", addresses[0])
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			exchange := func() {
				t.Helper()
				if err := exchangeByteWithin(c, 30*time.Second); err != nil {
					t.Fatal(err)
				}
			}
			exchange()
			// Even connect(2) may see the reset.
			if none, err := net.Dial("tcp", addresses[1]); err == nil {
				_, _ = none.Read(make([]byte, 1))
				_ = none.Close()
			}
			has("service_missing")

			o.box.Relay.Faults().Cut(sourceSide)
			has("resumed")
			exchange()
			if err := o.box.Store.Close(first, false); err != nil {
				t.Fatal(err)
			}
			exchange() // over another tunnel
			has("reopened")
			eventually(t, 30*time.Second, "resumed again", func() bool { return strings.Count(out.String(), `"resumed"`) == 2 })
			second := o.open()[0].ID
			_ = cmd.Process.Signal(syscall.SIGINT)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			want := []string{
				`{"event":"connected","opened":true,"thing":"pi-1","tunnel":"FIRST"}`,
				`{"address":"ECHO-ADDRESS","event":"listening","service":"ECHO","thing":"pi-1"}`,
				`{"address":"NONE-ADDRESS","event":"listening","service":"NONE","thing":"pi-1"}`,
				`{"event":"service_missing","service":"NONE","text":"TEXT","thing":"pi-1"}`,
				`{"connections":1,"event":"detached","text":"TEXT","thing":"pi-1"}`,
				`{"connections":1,"event":"resumed","text":"TEXT","thing":"pi-1"}`,
				`{"connections":1,"event":"detached","text":"TEXT","thing":"pi-1"}`,
				`{"event":"reopened","text":"TEXT","thing":"pi-1","tunnel":"SECOND"}`,
				`{"connections":1,"event":"resumed","text":"TEXT","thing":"pi-1"}`,
				`{"event":"ended","exit_code":0,"reason":"signal","thing":"pi-1"}`,
			}
			if d := cmp.Diff(want, eventLines(t, out.String(), first, "FIRST", second, "SECOND", addresses[0], "ECHO-ADDRESS", addresses[1], "NONE-ADDRESS")); d != "" {
				t.Errorf("-want +got:\n%s\n%s", d, errs.String())
			}
		})
	}
}

func TestConnectInJSONSaysWhyItEnded(t *testing.T) {
	t.Parallel()
	o := startServicesSite(t, false, map[string]string{"ECHO": echoServer(t)})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for want, args := range map[string][]string{
		`{"event":"ended","exit_code":4,"hint":"TEXT","reason":"device_absent","text":"TEXT","thing":"nobody"}`:  {"nobody", "ECHO"},
		`{"event":"ended","exit_code":2,"reason":"bad_request","text":"TEXT","thing":"pi-1"}`:                    {"--lifetime", "90s", "pi-1", "ECHO"},
		`{"event":"ended","exit_code":1,"hint":"TEXT","reason":"failed","text":"TEXT","thing":"pi-1"}`:           {"pi-1", "ECHO=" + taken.Addr().String()},
		`{"event":"ended","exit_code":1,"hint":"TEXT","reason":"no_data_endpoint","text":"TEXT","thing":"pi-1"}`: {"--data-endpoint", "wss://127.0.0.1:1", "pi-1", "ECHO"},
	} {
		out, errs, code := runSSH(o.culvert(t, append([]string{"connect", "--json", "--quiet"}, args...)...))
		if d := cmp.Diff([]string{want}, eventLines(t, out)); d != "" || code == 0 || !strings.HasPrefix(errs, "error: ") {
			t.Errorf("%q: exit code %d, -want +got:\n%s\n%s", args, code, d, errs)
		}
	}
	for _, args := range [][]string{{"--json", "--stdio", "pi-1"}, {"--json", "pi-1", "--", "true"}, {"--stdio", "pi-1", "--", "true"}} {
		if out, errs, code := runSSH(o.culvert(t, append([]string{"connect"}, args...)...)); code != 2 || out != "" || !strings.Contains(errs, "exclude") {
			t.Errorf("%q: exit code %d, %q\n%s", args, code, out, errs)
		}
	}
	o.allClosed(t)
}

// When the reader of the events leaves, culvert still closes the tunnel.
func TestConnectInJSONWithoutAReader(t *testing.T) {
	t.Parallel()
	o := startServicesSite(t, false, map[string]string{"ECHO": echoServer(t)})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	cmd := o.culvert(t, "connect", "--json", "pi-1", "ECHO")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	err = cmd.Run()
	_ = w.Close()
	if err == nil || !strings.Contains(errs.String(), "error: ") {
		t.Errorf("%v\n%s", err, errs.String())
	}
	o.allClosed(t)
}
