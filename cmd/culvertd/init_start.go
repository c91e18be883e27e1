package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
)

// serviceManager is how a system has the daemon run: now, and after each boot.
type serviceManager struct {
	name    string
	running bool // not so while an image is being built
	enable  string
	verb    string // before or behind which the action goes
}

// manager finds the one of this system; the zero value is none.
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

// commands are what to type, for action is start or restart.
func (m serviceManager) commands(action string) []string {
	return []string{m.enable, fmt.Sprintf(m.verb, action)}
}

// managed tells whether the daemon is a service that runs with this configuration.
func (s *setting) managed() bool { return s.path == config.DefaultPath && manager().name != "" }

// start has the service manager run the daemon. It returns when that is ready, which under systemd means subscribed.
func (p *program) start(s *setting) (started bool, err error) {
	m := manager()
	switch {
	case !s.managed():
		return false, p.say("", "Run it with: culvertd --config "+s.path)
	case s.noStart:
		return false, p.say("", "Have it run with: "+strings.Join(m.commands("restart"), " && "))
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
			return false, fmt.Errorf("%s: %w: the configuration is written; see what %s says of the service", command, err, m.name)
		}
	}
	if !m.running {
		return false, p.say("", m.name+" does not run here: the daemon starts with the next boot")
	}
	return true, nil
}
