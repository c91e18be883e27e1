package main

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestTheSameSeedIsTheSameRun(t *testing.T) {
	describe := func(seed uint64) string {
		text := fmt.Sprint(schedule(seed, 5*time.Minute))
		for tunnel, plan := range tunnelPlans {
			for worker := range plan.workers + plan.idlers {
				traffic := newTraffic(seed, tunnel, worker, worker >= plan.workers)
				for range 20 {
					text += fmt.Sprintf("%+v\n", traffic.operation())
				}
			}
		}
		return text
	}
	first, again := describe(1), describe(1)
	if first != again {
		t.Error("two runs of one seed differ")
	}
	if first == describe(2) {
		t.Error("two seeds are one run")
	}
}

func TestEveryFaultHasItsTurn(t *testing.T) {
	seen := map[string]int{}
	for _, e := range schedule(3, 4*time.Hour) {
		seen[e.fault]++
	}
	for _, f := range faults {
		if seen[f.name] == 0 {
			t.Errorf("%s never fires in four hours", f.name)
		}
	}
}

func TestWhatIsFeltForLongNeedsTheTimeForIt(t *testing.T) {
	for seed := range uint64(200) {
		const length = 40 * time.Second
		for _, e := range schedule(seed, length) {
			if e.at+faultNamed(e.fault).needs > length {
				t.Fatalf("seed %d: %v at %v", seed, e, e.at)
			}
		}
	}
}

func TestNoTwoConnectionsHaveOneID(t *testing.T) {
	seen := map[uint64]bool{probeID: true}
	for tunnel, plan := range tunnelPlans {
		for worker := range plan.workers + plan.idlers {
			traffic := newTraffic(9, tunnel, worker, worker >= plan.workers)
			for range 1000 {
				o := traffic.operation()
				if seen[o.talk.id] {
					t.Fatalf("tunnel %d, worker %d: %x again", tunnel, worker, o.talk.id)
				}
				seen[o.talk.id] = true
				if head, err := parseHeader(o.talk.header()); err != nil || head != o.talk {
					t.Fatalf("%+v becomes %+v, %v", o.talk, head, err)
				}
				if o.talk.kind == halfClose && !plan.half || !slices.Contains(plan.services, o.service) {
					t.Fatalf("tunnel %d: %+v", tunnel, o)
				}
			}
		}
	}
}

// The whole of it, with a byte changed behind the daemon: the run ends at once, with what is needed to look into it.
func TestARunThatFindsSomethingFails(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not in PATH: it builds the daemon that this test runs")
	}
	var reads atomic.Int64
	var out bytes.Buffer
	opts := options{seed: 5, length: time.Minute, out: &out, wrap: func(c net.Conn) net.Conn {
		if reads.Add(1) < 100 {
			return c
		}
		// Target's ends of other kinds than TCP do not matter here.
		if _, ok := c.(*net.TCPConn); !ok {
			return c
		}
		return &damage{Conn: c, at: headerSize + 200, do: func(b []byte, i int) int { b[i] ^= 1; return len(b) }}
	}}
	start := time.Now()
	if code := opts.execute(false); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{"seed 5", "VIOLATION", "must be", "traffic and faults begin", "replay with make soak MINUTES=1 SEED=5", "culvertd's last words"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not tell %q:\n%s", want, out.String())
			break
		}
	}
	t.Logf("found after %v", time.Since(start))
}
