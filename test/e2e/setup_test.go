package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestFirstSetup takes a device from nothing to a tunnel, with the programs alone: the operator's makes it known, the
// device's takes the bundle. Its policy must be enough, and no more than that.
func TestFirstSetup(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{})
	dir := shortDir(t)
	bundle := filepath.Join(dir, "bundle.tar")
	setup := exec.Command(culvert(t), "setup-thing", "my-pi", "--output", bundle, "--service", "ECHO="+echoServer(t), "--ca-file", box.CAFile(), "--data-endpoint", box.RelayURL)
	setup.Env = cleanEnv("HOME="+dir, "AWS_ENDPOINT_URL="+box.APIURL, "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=thing", "AWS_REGION="+box.Region)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("culvert setup-thing: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "culvertd.toml")
	initialize := exec.Command(culvertd(t), "init", "--config", config, "--bundle", bundle, "--offline")
	initialize.Env = cleanEnv()
	if out, err := initialize.CombinedOutput(); err != nil || !strings.Contains(string(out), "✓ private key") {
		t.Fatalf("culvertd init: %v\n%s", err, out)
	}

	// What belongs to a system is this test's own.
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Replace(string(text), "[tunnel]\n", fmt.Sprintf("[tunnel]\nstate_dir = %q\n", filepath.Join(dir, "state")), 1) +
		fmt.Sprintf("\n[control]\nsocket = %q\n", filepath.Join(dir, "s"))
	if err := os.WriteFile(config, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	device := startDaemon(t, config)
	device.waitLog(t, "mqtt subscribed", 20*time.Second)
	opened, err := box.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "my-pi", Services: []string{"ECHO"}}})
	if err != nil {
		t.Fatal(err)
	}
	device.hide(opened.SourceToken, opened.DestinationToken)
	source := startSource(t, box, opened.SourceToken, proxy.V3)
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	device.stop(t)

	// The policy names one client id.
	other := strings.Replace(own, "[mqtt]\n", "[mqtt]\nclient_id = \"my-pi\"\n", 1)
	if err := os.WriteFile(config, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, config).waitLog(t, "must allow iot:Connect on client/my-pi,", 20*time.Second)
}
