//go:build unix

package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent/control"
)

// TestADiskThatHangsAtTheStampStopsNothing plays the disk by a FIFO, whose reader does not come.
func TestADiskThatHangsAtTheStampStopsNothing(t *testing.T) {
	cfg := testConfig(t, "", "SSH = 22\n")
	fifo := filepath.Join(cfg.Tunnel.StateDir, clockName+".tmp")
	if err := os.Mkdir(cfg.Tunnel.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, cfg)
	d.agent.clock.seen(time.Now().Add(-time.Hour))
	d.agent.settled()
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s := new(Status); s.State == nil || !strings.Contains(d.logs.String(), "state directory does not answer"); <-tick.C {
		if err := control.Call(limited, cfg.Control.Socket, control.Request{Command: control.Status}, s); err != nil {
			t.Errorf("the status does not come, or does not say that the disk hangs: %v", err)
			break
		}
	}
	began := time.Now()
	if err := d.stop(); err != nil || time.Since(began) >= StopTimeout {
		t.Errorf("stopped after %v: %v", time.Since(began), err)
	}

	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for !strings.Contains(d.logs.String(), "state directory answers again") {
		select {
		case <-tick.C:
		case <-limited.Done():
			t.Fatalf("that the disk answers is not in the log: %s", d.logs)
		}
	}
}
