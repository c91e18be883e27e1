package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/version"
)

// daemon is a culvertd that runs with this configuration.
type daemon struct {
	status *agent.Status // nil if it does not run or cannot be asked
	err    error         // why it cannot be asked
	pid    int           // 0 if it does not run or is unknown
}

// running reports whether there is one: a connection with its client id would end its own.
func (d daemon) running() bool {
	return d.status != nil || d.pid != 0 || d.err != nil && !absent(d.err)
}

// absent reports that nothing listens on the control socket.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTSOCK)
}

// findDaemon asks the control socket or else looks in the process table. It also finds the daemon's user.
func (c *checkup) findDaemon(ctx context.Context) {
	defer func() {
		if c.daemon.pid != 0 {
			c.user = c.processAccount(c.daemon.pid)
		} else if u := c.unit(); u != nil && u.user != "" {
			c.user = c.accountOf(u.user)
		}
	}()
	if path := c.cfg.Control.Socket; path != "" && !c.Offline {
		limited, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		var s agent.Status
		if c.daemon.err = control.Call(limited, path, control.Request{Command: control.Status}, &s); c.daemon.err == nil {
			c.daemon.status, c.daemon.pid = &s, s.PID
			return
		}
	}
	c.daemon.pid = c.findProcess()
}

// findProcess looks in the process table for a daemon with the same configuration file. It returns 0
// if there is none that this user can see.
func (c *checkup) findProcess() int {
	entries, err := os.ReadDir(c.at("/proc"))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := c.at("/proc/" + e.Name())
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		config, is := daemonConfig(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"))
		if !is {
			continue
		}
		if !filepath.IsAbs(config) {
			if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); err == nil {
				config = filepath.Join(cwd, config)
			}
		}
		if filepath.Clean(config) == c.cfg.Path {
			return pid
		}
	}
	return 0
}

// control reports on the running daemon, or whether one could create its control socket.
func (c *checkup) control() *Result {
	const id = "daemon"
	path, d := c.cfg.Control.Socket, c.daemon
	switch {
	case d.status != nil:
		return c.compare(id, *d.status)
	case path == "" && d.pid != 0:
		return warning(id, "set control.socket and restart the daemon", "the daemon runs (pid %d) and cannot be asked: control.socket is off", d.pid)
	case path == "":
		return skipped(id, "control.socket is off: status and notify will not work")
	case errors.Is(d.err, fs.ErrPermission):
		return warning(id, "run the check as root, or as the user that runs the daemon", "this user may not ask a daemon on %s", path)
	case !absent(d.err):
		return failed(id, "look at its log, and restart it", "%s", firstLine(d.err))
	case d.pid != 0:
		return failed(id, "restart it", "the daemon runs (pid %d), but does not answer on %s", d.pid, path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return failed(id, "remove it, or correct control.socket", "%s exists and is not a socket: the daemon cannot create its own", path)
	}
	return skipped(id, "no daemon answers on %s", path)
}

// compare finds differences between the running daemon and the file.
func (c *checkup) compare(id string, s agent.Status) *Result {
	var differ []string
	note := func(key, running, file string) {
		if running != file {
			differ = append(differ, fmt.Sprintf("%s %q", key, running))
		}
	}
	note("thing_name", s.Thing, c.cfg.ThingName)
	note("mqtt.endpoint", s.MQTT.Endpoint, c.cfg.MQTT.Address())
	note("mqtt.client_id", s.MQTT.ClientID, c.cfg.MQTT.ClientID)
	switch own := version.Get().Version; {
	case s.Config != c.cfg.Path:
		return warning(id, "check that file, or stop that daemon", "pid %d answers on %s and runs with another file, %s", s.PID, c.cfg.Control.Socket, clean.Line(s.Config, 200))
	case len(differ) > 0:
		return warning(id, "restart it", "pid %d still runs with %s", s.PID, clean.Line(strings.Join(differ, " and "), 300))
	case s.Version.Version != own:
		return warning(id, "restart it", "pid %d is of version %s, and this is %s", s.PID, clean.Line(s.Version.Version, 40), own)
	}
	return well(id, "pid %d answers on %s", s.PID, c.cfg.Control.Socket)
}

func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
