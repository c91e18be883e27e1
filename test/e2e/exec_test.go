package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/test/harness"
)

// startFleet runs the agents of things in this process until the test ends, and returns when they are subscribed.
func startFleet(t *testing.T, box *sandbox.Sandbox, things []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	agents := make([]*agent.Agent, 0, len(things))
	for _, thing := range things {
		files, err := box.Device(thing)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(files.ConfigFile)
		if err != nil {
			t.Fatal(err)
		}
		a := agent.New(cfg, agent.Options{Logger: slog.New(slog.DiscardHandler)})
		agents = append(agents, a)
		running.Go(func() {
			if err := a.Run(ctx); err != nil {
				t.Errorf("agent of %s: %v", thing, err)
			}
		})
	}
	for i, a := range agents {
		select {
		case <-a.Subscribed():
		case <-time.After(time.Minute):
			t.Fatalf("%s is not subscribed", things[i])
		}
	}
}

func names(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("dev-%03d", i+1))
	}
	return list
}

// startFleetSite is a fleet whose things share an sshd, and an operator.
func startFleetSite(t *testing.T, n int) (*operatorSite, func(args ...string) []string) {
	t.Helper()
	requireProgram(t, "ssh")
	ssh := startSSHServer(t)
	box := startSandbox(t, sandbox.Config{Things: []string{"away"}, Services: map[string]string{"SSH": ssh.address}})
	startFleet(t, box, names(n))
	return newOperatorSite(t, box), func(args ...string) []string {
		return append([]string{
			"exec", "--user", ssh.user, "-o", "IdentityFile=" + filepath.Join(ssh.dir, "client"), "-o", "IdentitiesOnly=yes",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		}, args...)
	}
}

func TestExecOnManyDevices(t *testing.T) {
	t.Parallel()
	site, args := startFleetSite(t, 6)
	run := func(more ...string) (stdout, stderr string, code int) {
		t.Helper()
		return runSSH(site.culvert(t, args(more...)...))
	}
	t.Run("it asks before it opens tunnels", func(t *testing.T) {
		_, errs, code := run("--price", "1.5", "dev-00*", "--", "true")
		if code != 2 || !strings.Contains(errs, "6 devices need a tunnel each, at 1.50 each up to 9.00") || len(site.box.Store.List("")) > 0 {
			t.Errorf("exit code %d, %d tunnels\n%s", code, len(site.box.Store.List("")), errs)
		}
	})
	t.Run("output by prefix", func(t *testing.T) {
		out, errs, code := run("--yes", "dev-00*", "--", "echo one; echo two >&2; printf three")
		for _, name := range names(6) {
			if !strings.Contains(out, name+": one\n") || !strings.Contains(out, name+": three\n") || !strings.Contains(errs, name+": two\n") {
				t.Errorf("not all of %s's output", name)
			}
		}
		if code != 0 || !strings.Contains(errs, "6 of 6 done, 0 failed, in ") || !strings.Contains(errs, "dev-001 ended with exit code 0 after ") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		site.allClosed(t)
	})
	t.Run("failures, an absent device, and what is left to do", func(t *testing.T) {
		todo := filepath.Join(t.TempDir(), "todo")
		if err := os.WriteFile(todo, []byte("dev-001\n# a comment\ndev-002\naway\ndev-001\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		mark := filepath.Join(t.TempDir(), "mark")
		// The first device to come fails.
		again := []string{"--things", todo, "--failed", todo, "--yes", "-P", "1", "--json", "--", "mkdir " + mark + " && exit 3; echo well"}
		out, errs, code := run(again...)
		state := map[string]string{}
		for line := range strings.Lines(out) {
			var r struct {
				Thing, State string
				ExitCode     int `json:"exit_code"`
				Stdout       string
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			state[r.Thing] = fmt.Sprintf("%s %d %q", r.State, r.ExitCode, r.Stdout)
		}
		want := map[string]string{"dev-001": `failed 3 ""`, "dev-002": `done 0 "well\n"`, "away": `offline -1 ""`}
		if code != 1 || fmt.Sprint(state) != fmt.Sprint(want) {
			t.Errorf("exit code %d, %v, want %v\n%s", code, state, want, errs)
		}
		if left, _ := os.ReadFile(todo); string(left) != "dev-001\naway\n" {
			t.Errorf("left to do: %q", left)
		}
		if out, errs, code := run(again...); code != 1 || !strings.Contains(out, `"state":"done"`) {
			t.Errorf("once more: exit code %d\n%s%s", code, out, errs)
		}
		if left, _ := os.ReadFile(todo); string(left) != "away\n" {
			t.Errorf("left to do: %q", left)
		}
		site.allClosed(t)
	})
	t.Run("throttled calls are repeated", func(t *testing.T) {
		for _, operation := range []string{"ListTunnels", "OpenTunnel"} {
			// Each device meets it three times in a row, and the SDK by itself tries no more often.
			if err := site.box.API.Fail(api.Fault{Operation: operation, Count: 18}); err != nil {
				t.Fatal(err)
			}
		}
		if out, errs, code := run("--yes", "dev-00*", "--", "true"); code != 0 {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		site.box.API.ClearFaults()
		site.allClosed(t)
	})
	t.Run("into files", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "out")
		_, errs, code := run("--yes", "--output-dir", dir, "dev-003", "dev-004", "--", "echo here; echo there >&2")
		for file, want := range map[string]string{"dev-003.out": "here\n", "dev-004.err": "there\n"} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", file, got, err)
			}
		}
		if code != 0 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("Ctrl-C closes the tunnels", func(t *testing.T) {
		cmd := site.culvert(t, args("--yes", "dev-00*", "--", "echo started; sleep 60")...)
		var out, errs harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "all run", func() bool { return strings.Count(out.String(), "started") == 6 })
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 || len(site.open()) != 0 {
			t.Errorf("exit code %d, %d open tunnels\n%s", code, len(site.open()), errs.String())
		}
		if strings.Contains(errs.String(), "log in") || strings.Count(errs.String(), " s: interrupted\n") != 6 {
			t.Errorf("the end of a device is not called interrupted:\n%s", errs.String())
		}
	})
	for name, bad := range map[string][]string{
		"no command": {"dev-001"}, "no things": {"--", "true"}, "a price that is none": {"--price", "much", "dev-001", "--", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, errs, code := run(bad...); code != 2 {
				t.Errorf("exit code %d\n%s", code, errs)
			}
		})
	}
}

// TestExecOn200Devices measures; CULVERT_FLEET=200 asks for it.
func TestExecOn200Devices(t *testing.T) {
	var n int
	if _, err := fmt.Sscan(os.Getenv("CULVERT_FLEET"), &n); err != nil {
		t.Skip("CULVERT_FLEET=200 runs it")
	}
	site, args := startFleetSite(t, n)
	cmd := site.culvert(t, args("--yes", "--quiet", "dev-*", "--", "true")...)
	began, most := time.Now(), 0
	var errs harness.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(50 * time.Millisecond):
			if kB, err := harness.Figure(cmd.Process.Pid, "status", "VmHWM"); err == nil {
				most = max(most, kB)
			}
		}
	}
	t.Logf("%d devices in %v, operator's VmHWM %d kB", n, time.Since(began).Round(100*time.Millisecond), most)
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
	site.allClosed(t)
}
