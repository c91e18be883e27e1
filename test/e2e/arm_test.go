package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// TestSSHToAnEmulatedDevice runs the daemon as it is built for small devices, under qemu-user, with a real ssh and sshd.
// CULVERT_ARM names the kinds, as make test-arm does.
func TestSSHToAnEmulatedDevice(t *testing.T) {
	kinds := strings.Fields(os.Getenv("CULVERT_ARM"))
	if len(kinds) == 0 {
		t.Skip("make test-arm runs it: it builds for every kind that CULVERT_ARM names")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			arch := map[string][3]string{
				"armv6": {"arm", "6", "qemu-arm-static"}, "armv7": {"arm", "7", "qemu-arm-static"}, "arm64": {"arm64", "", "qemu-aarch64-static"},
			}[kind]
			if arch[0] == "" {
				t.Fatalf("CULVERT_ARM: armv6, armv7 and arm64 are known, not %s", kind)
			}
			emulator := requireProgram(t, arch[2])
			program := filepath.Join(t.TempDir(), "culvertd")
			build := exec.Command("go", "build", "-o", program, "github.com/culvert-iot/culvert/cmd/culvertd")
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch[0], "GOARM="+arch[1])
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			ssh := startSSHServer(t)
			box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": ssh.address}})
			files, err := box.Device("pi-1")
			if err != nil {
				t.Fatal(err)
			}
			device := startCommand(t, files.ConfigFile, exec.Command(emulator, program, "--config", files.ConfigFile))
			device.waitLog(t, "mqtt subscribed", 60*time.Second)
			opened := openTunnel(t, box, device, "SSH")
			device.waitLog(t, "tunnel connected", 20*time.Second)
			port := listen(t, startSource(t, box, opened.SourceToken, proxy.V3), "SSH")
			target := ssh.user + "@127.0.0.1"

			out, err := ssh.client(t, "ssh", port, target, "echo over the culvert").CombinedOutput()
			if err != nil || string(out) != "over the culvert\n" {
				t.Fatalf("got %q, %v", out, err)
			}
			ssh.copyBothWays(t, port, target, 8<<20)
			t.Logf("%s at rest: %.1f MB of RSS, with its emulator", kind, settled(t, device.Cmd.Process.Pid, "Rss"))
			device.stop(t)
		})
	}
}
