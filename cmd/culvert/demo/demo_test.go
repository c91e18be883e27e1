package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDaemon writes a shell script that stands in for culvertd.
func fakeDaemon(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "culvertd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// emptyTemp makes the demo's temporary files show if they stay.
func emptyTemp(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		for _, e := range left {
			t.Errorf("%s was left behind", e.Name())
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRunFailsWithTheStepTheReasonAndTheLog(t *testing.T) {
	tests := []struct {
		name, script string
		want         []string
	}{
		{
			"a daemon that dies", "echo 'level=ERROR msg=\"no luck today\"' >&2; exit 3",
			[]string{"step 2, start culvertd: culvertd ended: exit status 3", "\nThe end of culvertd's log:\n  level=ERROR msg=\"no luck today\""},
		},
		{"a daemon that dies without a word", "exit 4", []string{"step 2, start culvertd: culvertd ended: exit status 4", "culvertd logged nothing."}},
		{"a daemon that ends well, and too early", "exit 0", []string{"culvertd ended by itself"}},
		{"a long log", "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i >&2; done; exit 1", []string{"log:\n  line 26\n", "\n  line 40"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			emptyTemp(t)
			var out strings.Builder
			err := Run(t.Context(), Config{Culvertd: fakeDaemon(t, tt.script), Out: &out})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in:\n%v", w, err)
				}
			}
			if !strings.HasSuffix(out.String(), " 2  start culvertd         failed\n") {
				t.Errorf("narration:\n%s", out.String())
			}
		})
	}
}

func TestRunThatIsInterruptedLeavesNothing(t *testing.T) {
	emptyTemp(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	daemon := fakeDaemon(t, "echo $$ >"+pidFile+".tmp; mv "+pidFile+".tmp "+pidFile+"; exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var out strings.Builder
	go func() { ended <- Run(ctx, Config{Culvertd: daemon, Out: &out}) }()
	started := until(t.Context(), func() (bool, error) {
		_, err := os.Stat(pidFile)
		return err == nil, nil
	})
	if started != nil {
		t.Fatal(started)
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, errInterrupted) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if !strings.HasSuffix(out.String(), " 2  start culvertd        stopped\n") {
		t.Errorf("narration:\n%s", out.String())
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err == nil {
		t.Error("the daemon still runs")
	}
}

func TestDaemonIsFound(t *testing.T) {
	t.Run("where it was said to be", func(t *testing.T) {
		want := fakeDaemon(t, "")
		if got, err := findDaemon(want); got != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("in PATH", func(t *testing.T) {
		want := fakeDaemon(t, "")
		t.Setenv("PATH", filepath.Dir(want))
		if got, err := findDaemon(""); got != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	plain := filepath.Join(t.TempDir(), "culvertd")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"nowhere": "", "not at its path": "/nowhere/culvertd", "no program": plain} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			_, err := findDaemon(path)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "make build") || strings.Contains(err.Error(), "%!") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTokensAreReadAndDoNotPrintThemselves(t *testing.T) {
	r := &run{}
	if err := json.Unmarshal([]byte(`{"tunnelId":"1","sourceAccessToken":"sesame","destinationAccessToken":"simsim"}`), &r.tunnel); err != nil {
		t.Fatal(err)
	}
	if got := r.tunnel.SourceAccessToken.Reveal() + r.tunnel.DestinationAccessToken.Reveal(); got != "sesamesimsim" {
		t.Errorf("tokens %q", got)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(verb, r); strings.Contains(shown, "sesame") || strings.Contains(shown, "simsim") {
			t.Errorf("%s shows a token: %s", verb, shown)
		}
	}
}
