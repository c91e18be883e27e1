package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/internal/trust"
	"github.com/culvert-iot/culvert/test/capture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a runner until the test ends.
func start(t *testing.T, cfg settings.Hooks, run func(context.Context, settings.Hooks, Event) error) (*Runner, *capture.Buffer) {
	t.Helper()
	logs := &capture.Buffer{}
	r := New(cfg, slog.New(slog.NewTextHandler(logs, nil)))
	if run != nil {
		r.run = run
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return r, logs
}

func TestEventsRunOneAtATimeInTheirOrderAndOnlyThoseAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		running := false
		r, _ := start(t, settings.Hooks{Command: []string{"/x"}, Events: []string{"a", "b"}}, func(_ context.Context, _ settings.Hooks, e Event) error {
			if running {
				t.Error("two at a time")
			}
			running = true
			time.Sleep(time.Second)
			running = false
			got = append(got, e.Name+strings.Join(e.Facts, ""))
			return nil
		})
		begin := time.Now()
		for i := range 3 {
			r.Tell(Event{Name: "a", Facts: []string{fmt.Sprint(i)}})
			r.Tell(Event{Name: "c"})
			r.Tell(Event{Name: "b", Facts: []string{fmt.Sprint(i)}})
		}
		if time.Since(begin) != 0 {
			t.Error("the caller had to wait")
		}
		if r.Wants("c") || !r.Wants("a") {
			t.Error("Wants is wrong")
		}
		synctest.Wait()
		if s, _ := r.Status(); s.Queued != 6 {
			t.Errorf("%d are queued, the one that runs included", s.Queued)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := "a0 b0 a1 b1 a2 b2"; strings.Join(got, " ") != want {
			t.Errorf("ran %v, want %s", got, want)
		}
		if s, ok := r.Status(); !ok || s.Run != 6 || s.Failed+s.Dropped != 0 || s.Queued != 0 || s.Command != "/x" {
			t.Errorf("%+v, %v", s, ok)
		}
	})
}

func TestAFloodOfEventsIsDroppedAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, logs := start(t, settings.Hooks{Command: []string{"/x"}}, func(ctx context.Context, _ settings.Hooks, _ Event) error {
			time.Sleep(10 * time.Second)
			return nil
		})
		for range 10_000 {
			r.Tell(Event{Name: "a"})
		}
		synctest.Wait()
		s, _ := r.Status()
		if s.Dropped < 10_000-queueSize-1 || s.Queued > queueSize+1 {
			t.Errorf("%+v", s)
		}
		if n := strings.Count(logs.String(), "events dropped"); n != 1 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Hour)
		for range 1000 {
			r.Tell(Event{Name: "a"})
		}
		if n := strings.Count(logs.String(), "events dropped"); n != 2 {
			t.Errorf("%d lines after the next flood", n)
		}
		time.Sleep(time.Hour)
	})
}

func TestAFailureIsLoggedOnceUntilItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("no light")
		r, logs := start(t, settings.Hooks{Command: []string{"/x"}}, func(context.Context, settings.Hooks, Event) error { return failure })
		for i := range 5 {
			if i == 3 {
				failure = errors.New("no power")
			}
			r.Tell(Event{Name: "a"})
			synctest.Wait()
		}
		if n := strings.Count(logs.String(), "hook failed"); n != 2 {
			t.Errorf("%d lines:\n%s", n, logs)
		}
		s, _ := r.Status()
		if s.Failed != 5 || s.LastError != "no power" || !s.LastErrorAt.Equal(time.Now()) {
			t.Errorf("%+v", s)
		}
	})
}

func TestStopWaitsForWhatWasToldAndTheContextDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kill := range []bool{false, true} {
			ran := 0
			r := New(settings.Hooks{Command: []string{"/x"}}, slog.New(slog.DiscardHandler))
			r.run = func(ctx context.Context, _ settings.Hooks, _ Event) error {
				ran++
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
				return nil
			}
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { r.Run(ctx) })
			for range 3 {
				r.Tell(Event{Name: "a"})
			}
			synctest.Wait()
			begin := time.Now()
			if kill {
				cancel()
			} else {
				r.Stop()
				r.Tell(Event{Name: "late"})
			}
			running.Wait()
			want, took := 3, 3*time.Second
			if kill {
				want, took = 1, 0
			}
			if s, _ := r.Status(); ran != want || time.Since(begin) != took || int(s.Dropped) != 3-want {
				t.Errorf("kill %v: %d ran in %v, %+v", kill, ran, time.Since(begin), s)
			}
			cancel()
		}
	})
}

func TestWithoutACommandNothingIsWanted(t *testing.T) {
	r, _ := start(t, settings.Hooks{}, nil)
	r.Tell(Event{Name: "a"})
	if _, ok := r.Status(); ok || r.Wants("a") {
		t.Error("there is no command")
	}
	r.Set(settings.Hooks{Command: []string{"/x"}})
	if !r.Wants("a") {
		t.Error("the new configuration has one")
	}
}

const shell = "/bin/sh"

func needShell(t *testing.T) {
	t.Helper()
	if err := trust.Executable(shell); err != nil {
		t.Skip(err)
	}
}

func TestACommandGetsTheFactsAndNothingOfTheDaemonsEnvironment(t *testing.T) {
	needShell(t)
	t.Setenv("https_proxy", "http://user:SECRET@proxy.example")
	out := filepath.Join(t.TempDir(), "out")
	cfg := settings.Hooks{Command: []string{shell, "-c", `env >"$0"; pwd >>"$0"`, out}, Timeout: time.Minute}
	if err := runCommand(t.Context(), cfg, Event{Name: "tunnel_opened", Facts: []string{"CULVERT_SERVICE=SSH"}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text := "\n" + string(data)
	for _, want := range []string{"\nCULVERT_EVENT=tunnel_opened\n", "\nCULVERT_SERVICE=SSH\n", "\n" + path + "\n", "\n/\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "SECRET") || strings.Contains(text, "HOME=") {
		t.Errorf("the daemon's environment was handed on:\n%s", text)
	}
}

func TestACommandThatTakesTooLongIsKilledWithWhatItStarted(t *testing.T) {
	needShell(t)
	pid := filepath.Join(t.TempDir(), "pid")
	begin := time.Now()
	cfg := settings.Hooks{Command: []string{shell, "-c", `sleep 1000 & echo $! >"$0"; echo waiting; wait`, pid}, Timeout: 500 * time.Millisecond}
	err := runCommand(t.Context(), cfg, Event{Name: "a"})
	if err == nil || err.Error() != "/bin/sh was killed, it took longer than 500ms (hooks.timeout): waiting" {
		t.Errorf("%v", err)
	}
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	child, err := os.ReadFile(pid)
	if err != nil {
		t.Skip("the shell did not come that far")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") { // gone, or a zombie that init has yet to collect
			return
		}
		<-tick.C
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("the command's own child lives on: %s", stat)
		}
	}
}

// A command may start something that goes on, and has its output: that is no failure, and the next event does not wait.
func TestWhatACommandLeavesRunningIsNotWaitedFor(t *testing.T) {
	needShell(t)
	pid := filepath.Join(t.TempDir(), "pid")
	begin := time.Now()
	cfg := settings.Hooks{Command: []string{shell, "-c", `sleep 600 & echo $! >"$0"; echo started`, pid}, Timeout: 5 * time.Minute}
	if err := runCommand(t.Context(), cfg, Event{Name: "a"}); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > time.Minute {
		t.Errorf("it took %v", d)
	}
	data, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	child, err := os.FindProcess(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Kill(); err != nil {
		t.Errorf("what it left running is gone: %v", err)
	}
}

func TestAFailedCommandTellsWhatItSaid(t *testing.T) {
	needShell(t)
	err := runCommand(t.Context(), settings.Hooks{Command: []string{shell, "-c", "printf 'no \\033[31mlight\\nat all'; yes | head -c 100000; exit 3"}, Timeout: time.Minute}, Event{})
	if err == nil || err.Error() != "/bin/sh: exit status 3: no [31mlight" {
		t.Errorf("%v", err)
	}
}

func TestACommandThatOthersCanChangeIsNotRun(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o777); err != nil {
		t.Fatal(err)
	}
	err := runCommand(t.Context(), settings.Hooks{Command: []string{name}, Timeout: time.Minute}, Event{})
	if err == nil || !strings.Contains(hint.Line(err), "chmod o-w "+name) {
		t.Errorf("%v", err)
	}
}

func TestAScriptThatOthersCanChangeIsNotRunByItsInterpreter(t *testing.T) {
	needShell(t)
	script := filepath.Join(t.TempDir(), "evil.sh")
	ran := filepath.Join(t.TempDir(), "ran")
	if err := os.WriteFile(script, []byte("echo > "+ran), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() error {
		return runCommand(t.Context(), settings.Hooks{Command: []string{"/bin/sh", "-e", script}, Timeout: 10 * time.Second}, Event{Name: "tunnel_opened"})
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ran); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(script, 0o602); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(hint.Line(err), "chmod o-w "+script) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("it was run")
	}
}

func TestAFileThatCannotBeStartedSaysWhy(t *testing.T) {
	needShell(t)
	for name, c := range map[string]struct{ content, want string }{
		"carriage returns":       {"#!/bin/sh\r\necho\r\n", `carriage returns: sed -i 's/[[:cntrl:]]$//' `},
		"no first line":          {"echo hello\n", "a script begins with the line #!/bin/sh"},
		"no interpreter":         {"#!/usr/bin/python9 -u\n", "the interpreter /usr/bin/python9, which does not exist"},
		"a byte order mark":      {"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"},
		"of another processor":   {"\x7fELF\x01\x02\x01", "another processor"},
		"a name with an escape":  {"#!/\x1b[31mred\n", "/ [31mred"},
		"an empty file":          {"", "#!/bin/sh"},
		"an option on its line":  {"#! /nowhere/sh -e\n", "the interpreter /nowhere/sh, which"},
		"a directory at the end": {"#!/bin\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hook")
			if err := os.WriteFile(file, []byte(c.content), 0o700); err != nil {
				t.Fatal(err)
			}
			err := runCommand(t.Context(), settings.Hooks{Command: []string{file}, Timeout: 10 * time.Second}, Event{Name: "tunnel_opened"})
			if err == nil || !strings.Contains(hint.Line(err), c.want) || strings.Contains(hint.Line(err), "\x1b") {
				t.Errorf("got %v, want %q", hint.Line(err), c.want)
			}
		})
	}
}
