package check

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-iot/culvert/internal/clean"
)

const unitName = "culvertd.service"

// unitDirs are where systemd looks for units, in its order (systemd.unit(5)).
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// unit holds settings from unit files. systemd is not asked: the check starts no other program.
type unit struct {
	path           string
	masked         bool
	kind, user     string // Type= and User=
	stateDirectory bool
}

// unit reads culvertd's unit and its drop-ins. It returns nil if there is none.
func (c *checkup) unit() *unit {
	for _, dir := range unitDirs {
		path := c.at(filepath.Join(dir, unitName))
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		u := &unit{path: filepath.Join(dir, unitName), kind: "simple"}
		if to, err := os.Readlink(path); err == nil && to == os.DevNull {
			u.masked = true
			return u
		}
		u.read(path)
		for _, dir := range unitDirs {
			more, _ := filepath.Glob(c.at(filepath.Join(dir, unitName+".d", "*.conf")))
			for _, path := range more {
				u.read(path)
			}
		}
		return u
	}
	return nil
}

// read applies one file's settings; later ones win (systemd.syntax(7)).
func (u *unit) read(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "Type":
			u.kind = value
		case "User":
			u.user = value
		case "StateDirectory":
			u.stateDirectory = value != ""
		}
	}
}

// systemd reports whether the daemon starts at boot and is supervised.
func (c *checkup) systemd() *Result {
	const id = "systemd"
	if info, err := os.Stat(c.at("/run/systemd/system")); err != nil || !info.IsDir() { // sd_booted(3)
		return skipped(id, "this system does not run systemd")
	}
	u := c.unit()
	switch {
	case u == nil:
		return warning(id, "install the package, or put configs/culvertd.service of the source tree to /etc/systemd/system, then systemctl enable --now culvertd",
			"there is no %s: nothing starts the daemon at boot", unitName)
	case u.masked:
		return warning(id, "systemctl unmask culvertd", "%s is masked", u.path)
	}
	wanted, _ := filepath.Glob(c.at("/etc/systemd/system/*.wants/" + unitName))
	// systemd keeps this link for as long as the unit is active.
	_, err := os.Lstat(c.at("/run/systemd/units/invocation:" + unitName))
	active := err == nil
	switch {
	case !active && len(wanted) == 0:
		return warning(id, "systemctl enable --now culvertd", "%s is neither enabled nor active", unitName)
	case !active && c.daemon.running():
		return warning(id, "stop the one that runs, then systemctl start culvertd", "%s is not active, and a daemon runs without it", unitName)
	case !active:
		return warning(id, "systemctl start culvertd; journalctl -u culvertd says why it ended", "%s is enabled and not active", unitName)
	case len(wanted) == 0:
		return warning(id, "systemctl enable culvertd", "%s is active and not enabled: nothing starts it at boot", unitName)
	case u.kind != "notify" && u.kind != "notify-reload":
		return warning(id, "set Type=notify", "%s has Type=%s: systemd does not know when the daemon is ready", unitName, clean.Line(u.kind, 20))
	}
	return well(id, "%s is enabled and active, Type=%s", unitName, u.kind)
}
