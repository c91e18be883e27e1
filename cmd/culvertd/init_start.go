package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/hint"
)

// serviceManager starts the daemon, now and at each boot.
type serviceManager struct {
	name    string
	running bool // false while an image is being built
	enable  string
	verb    string // a format with a place for the action
}

// manager finds this system's service manager; the zero value means none.
func manager() serviceManager {
	is := func(path string) bool { _, err := os.Stat(path); return err == nil }
	has := func(program string) bool { _, err := exec.LookPath(program); return err == nil }
	switch {
	case has("systemctl"):
		return serviceManager{"systemd", is("/run/systemd/system"), "systemctl enable culvertd", "systemctl %s culvertd"} // sd_booted(3)
	case has("rc-service"):
		return serviceManager{"OpenRC", is("/run/openrc/softlevel"), "rc-update add culvertd default", "rc-service culvertd %s"}
	case is("/etc/rc.common"):
		return serviceManager{"procd", is("/var/run/ubus"), "/etc/init.d/culvertd enable", "/etc/init.d/culvertd %s"}
	}
	return serviceManager{}
}

// sudo comes before what root alone may do. OpenWrt, which has procd, has no other user.
func (m serviceManager) sudo() string {
	if m.name == "procd" {
		return ""
	}
	return "sudo "
}

// commands are what to type; action is start or restart.
func (m serviceManager) commands(action string) []string {
	return []string{m.enable, fmt.Sprintf(m.verb, action)}
}

// managed reports whether the daemon is a service that uses this configuration.
func (s *setting) managed() bool { return s.path == config.DefaultPath && manager().name != "" }

// start starts the service. It returns when the daemon is ready, which under systemd means subscribed.
func (p *program) start(s *setting) (started bool, err error) {
	m := manager()
	switch {
	case !s.managed():
		return false, p.say("", "Run it with: culvertd --config "+s.path)
	case s.noStart:
		return false, p.say("", "Start it with: "+strings.Join(m.commands("restart"), " && "))
	}
	commands := m.commands("restart")
	if !m.running {
		commands = commands[:1]
	}
	for _, command := range commands {
		if err := p.say("running " + command); err != nil {
			return false, err
		}
		words := strings.Fields(command)
		cmd := exec.CommandContext(context.Background(), words[0], words[1:]...) // systemd has limits of its own
		cmd.Stdout, cmd.Stderr = p.out, p.err
		if err := cmd.Run(); err != nil {
			return false, hint.Wrap(fmt.Errorf("%s: %w", command, err), "the configuration is written; see what "+m.name+" says about the service")
		}
	}
	if !m.running {
		return false, p.say("", m.name+" does not run here: the daemon starts with the next boot")
	}
	return true, nil
}
