//go:build linux

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// serviceManager stands in for systemd's notification socket.
type serviceManager struct {
	path string
	told *harness.Buffer
}

func startServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	dir, err := os.MkdirTemp("", "cv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &serviceManager{filepath.Join(dir, "notify"), &harness.Buffer{}}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			_, _ = m.told.Write(append(buf[:n:n], '\n'))
		}
	}()
	return m
}

func (m *serviceManager) wait(t *testing.T, pattern string) {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	if !poll(20*time.Second, func() bool { return expression.MatchString(m.told.String()) }) {
		t.Fatalf("systemd was never told %s, but\n%s", pattern, m.told.String())
	}
}

// TestSystemdKnowsHowTheDaemonIs starts it while the broker is down: what needs the device to be reachable must
// wait until it is.
func TestSystemdKnowsHowTheDaemonIs(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	box.Broker.Stop()
	systemd := startServiceManager(t)
	d := startDaemon(t, files.ConfigFile, "NOTIFY_SOCKET="+systemd.path, "WATCHDOG_USEC=4000000")
	d.waitLog(t, "mqtt connection failed", 20*time.Second)
	systemd.wait(t, `WATCHDOG=1\nSTATUS=mqtt connecting, no tunnel\n`)
	if strings.Contains(systemd.told.String(), "READY") {
		t.Error("ready without a subscription")
	}
	returns(t, box.Broker)
	systemd.wait(t, `\nREADY=1\n`)
	systemd.wait(t, `STATUS=mqtt subscribed, no tunnel\n`)
	openTunnel(t, box, d, "ECHO")
	systemd.wait(t, `STATUS=mqtt subscribed, 1 of 1 tunnels connected\n`)
	d.signal(t, syscall.SIGHUP)
	systemd.wait(t, `\nRELOADING=1\nMONOTONIC_USEC=\d+\n+READY=1\n`)
	d.stop(t)
	systemd.wait(t, `\nSTOPPING=1\nSTATUS=stopping\n$`)
}
