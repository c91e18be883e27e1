package e2e

import (
	"context"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
)

// startSandbox runs a sandbox in this process until the test ends.
func startSandbox(t testing.TB, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = shortDir(t)
	}
	box, err := sandbox.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range box.Relay.Violations() {
			t.Errorf("the relay saw a violation: %v", &v)
		}
		if err := box.Close(); err != nil {
			t.Errorf("close the sandbox: %v", err)
		}
	})
	return box
}
