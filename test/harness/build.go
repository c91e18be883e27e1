package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Build builds a command of this module, culvertd or culvert, into dir and returns its path. With race
// the race detector is in it.
func Build(ctx context.Context, dir, name string, race bool) (string, error) {
	path := filepath.Join(dir, name)
	args, cgo := []string{"build", "-trimpath", "-buildvcs=false", "-o", path}, "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/culvert-iot/culvert/cmd/"+name)...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// CleanEnv returns this process's environment without what would change where a program connects or
// logs to: web proxies, AWS settings, systemd.
func CleanEnv(extra ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		switch name {
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "NOTIFY_SOCKET", "JOURNAL_STREAM":
			return true
		}
		return strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "AWSIOT_") || strings.HasPrefix(name, "WATCHDOG_")
	})
	return append(env, extra...)
}
