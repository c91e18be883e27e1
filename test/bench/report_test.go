package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheTableHasMediansSpreadsAndRatiosOfRounds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	lines := `{"path":"loopback","work":"echo","contender":"culvert","metric":"p50","unit":"ms","value":1}
{"path":"loopback","work":"echo","contender":"peer","metric":"p50","unit":"ms","value":4}
{"path":"loopback","work":"echo","contender":"culvert","metric":"p50","unit":"ms","value":3}
{"path":"loopback","work":"echo","contender":"peer","metric":"p50","unit":"ms","value":6}
{"path":"loopback","work":"echo","contender":"culvert","metric":"p50","unit":"ms","value":2}
{"path":"loopback","work":"echo","contender":"peer","metric":"p50","unit":"ms","value":20}
`
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	results, err := readResults(file)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := show(&table, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 (1-3)", "6 (4-20)", "0.25"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &table)
		}
	}
}

func TestTimesOfEchoesCountFromWhenTheyWereDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late = time.Second
		near, far := net.Pipe()
		defer near.Close()
		go func() { // an echo that stands still for a second, once
			defer far.Close()
			var b [1]byte
			for i := range 100 {
				if _, err := io.ReadFull(far, b[:]); err != nil {
					return
				}
				if i == 50 {
					time.Sleep(late)
				}
				if _, err := far.Write(b[:]); err != nil {
					return
				}
			}
		}()
		took, err := typing(near, 100)
		if err != nil {
			t.Fatal(err)
		}
		// A closed loop would have one slow byte; here all that were due meanwhile are.
		if got := percentile(took, 100); got != late {
			t.Errorf("the slowest took %v, want %v", got, late)
		}
		slow := 0
		for _, d := range took {
			if d > keystrokes {
				slow++
			}
		}
		if slow < int(late/keystrokes)-2 {
			t.Errorf("%d were slow, want those of a whole second", slow)
		}
	})
}

func TestWhatNeverComesBackCountsWithTheTimeItWasMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		took, err := typing(near, 10)
		if err != nil {
			t.Fatal(err)
		}
		if least := percentile(took, 0); least < stragglers {
			t.Errorf("the least is %v, less than %v", least, stragglers)
		}
	})
}
