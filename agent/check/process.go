package check

import (
	"path"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
)

// daemonConfig reports from a process's arguments whether it is a daemon, and its configuration file.
func daemonConfig(args []string) (file string, is bool) {
	if len(args) == 0 || path.Base(args[0]) != "culvertd" {
		return "", false
	}
	args = args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if args[0] != "run" {
			return "", false
		}
		args = args[1:]
	}
	file = config.DefaultPath
	for i, arg := range args {
		name, value, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name != "config" || !strings.HasPrefix(arg, "-"):
		case inline:
			file = value
		case i+1 < len(args):
			file = args[i+1]
		}
	}
	return file, true
}
