package main

import (
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/cmd/culvert/fleet"
)

func TestFleetsThatMakeNoSense(t *testing.T) {
	for _, o := range []sandboxOptions{
		{things: -1, running: -1},
		{things: maxFleet + 1, running: -1},
		{things: 0, running: 3},
		{things: 5, running: 6},
		{things: 5, running: -2},
	} {
		if o.checkFleet() == nil {
			t.Errorf("%d of %d was accepted", o.running, o.things)
		}
	}
	for _, o := range []sandboxOptions{{running: -1}, {things: 5, running: -1}, {things: 5, running: 5}, {things: 5, running: 0}} {
		if err := o.checkFleet(); err != nil {
			t.Errorf("%d of %d: %v", o.running, o.things, err)
		}
	}
}

func TestFleetGreetingNamesTheWayIn(t *testing.T) {
	o := sandboxOptions{things: 20, running: -1}
	for name, tt := range map[string]struct {
		fleet   *fleet.Fleet
		inShell bool
		want    string
		without string
	}{
		"with ssh of its own": {&fleet.Fleet{SSHConfig: "/a b/config"}, false, "bin/culvert exec -F '/a b/config' --group canary", "have no ssh"},
		"without ssh":         {&fleet.Fleet{NoSSH: "sshd is missing"}, false, "have no ssh, so exec and ssh fail: sshd is missing.", "exec -F"},
		"other services":      {&fleet.Fleet{}, false, "bin/culvert exec --group canary", "-F"},
		"in a shell":          {&fleet.Fleet{}, true, "Leaving the shell ends it.", "export"},
	} {
		text := fleetGreeting(addresses, "bin/culvert", &o, tt.fleet, tt.inShell)
		if !strings.Contains(text, tt.want) || strings.Contains(text, tt.without) {
			t.Errorf("%s:\n%s", name, text)
		}
		if !tt.inShell && !strings.Contains(text, "export AWS_ENDPOINT_URL="+addresses.API) {
			t.Errorf("%s: no environment in\n%s", name, text)
		}
	}
}
