package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// A reader such as head leaves when it has enough. The command ends silently then, as others do.
func TestAReaderThatLeavesIsNoError(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	startDaemon(t, files.ConfigFile).waitLog(t, "mqtt subscribed", 20*time.Second)
	site := newOperatorSite(t, box)
	for _, args := range [][]string{
		{"ls"},
		{"ls", "--output", "json"},
		{"inventory"},
		{"doctor", "pi-1"},
		{"doctor", "--json", "pi-1"},
		{"ping", "-c", "1", "pi-1"},
		{"list-tunnels"},
		{"version"},
		{"--help"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = reader.Close()
			defer writer.Close()
			cmd := site.culvert(t, args...)
			var errs harness.Buffer
			cmd.Stdout, cmd.Stderr = writer, &errs
			_ = cmd.Run()
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || errs.String() != "" || status.Signal() != syscall.SIGPIPE {
				t.Errorf("%v, and it says:\n%s", cmd.ProcessState, errs.String())
			}
		})
	}
}
