package e2e

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestAShellOutlivesItsTunnel: a shell that prints a line every 50 ms goes on through whatever happens to the tunnel, and
// not a line is missing.
func TestAShellOutlivesItsTunnel(t *testing.T) {
	t.Parallel()
	o, ssh, device := startSSHSite(t)
	only := func() tunnels.Tunnel {
		t.Helper()
		list := o.open()
		if len(list) != 1 {
			t.Fatalf("%d tunnels are open", len(list))
		}
		return list[0]
	}
	cut := func(sides ...tunnels.Mode) func() {
		return func() {
			for _, side := range sides {
				o.box.Relay.Faults().Cut(relay.Target{Side: side})
			}
		}
	}
	rotate := func(mode string) func() {
		return func() {
			to := &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}
			if mode == tunnels.RotateSource {
				to = nil
			}
			r, err := o.box.Store.Rotate(only().ID, mode, to)
			if err != nil {
				t.Error(err)
			}
			device.hide(r.DestinationToken)
		}
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"the operator's link is cut", cut(tunnels.Source)},
		{"the device's link is cut", cut(tunnels.Destination)},
		{"both are cut", cut(tunnels.Source, tunnels.Destination)},
		{"rotation of SOURCE", rotate(tunnels.RotateSource)},
		{"rotation of DESTINATION", rotate(tunnels.RotateDestination)},
		{"rotation of ALL", rotate(tunnels.RotateAll)},
		{"the tunnel is closed by another operator", func() {
			if err := o.box.Store.Close(only().ID, false); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const lines = 80
			script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; sleep 0.05; done", lines)
			cmd := o.culvert(t, append(append([]string{"ssh", ssh.user + "@pi-1", "--"}, ssh.sshFlags()...), script)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var errs strings.Builder
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			n, longest, last := 0, time.Duration(0), time.Now()
			for s := bufio.NewScanner(out); s.Scan(); {
				n++
				if want := fmt.Sprintf("line %d", n); s.Text() != want {
					t.Fatalf("got %q, want %q", s.Text(), want)
				}
				if n > 1 {
					longest = max(longest, time.Since(last))
				}
				last = time.Now()
				if n == 20 {
					c.do()
				}
			}
			if err := cmd.Wait(); err != nil || n != lines {
				t.Fatalf("%d of %d lines, %v\n%s", n, lines, err, errs.String())
			}
			t.Logf("longest pause %v", longest.Round(time.Millisecond))
		})
	}
}
