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
		{things: 3, running: -1, devices: []string{"my-pi", "dev-0003"}},
	} {
		if o.checkFleet() == nil {
			t.Errorf("%d of %d, and %q, was accepted", o.running, o.things, o.devices)
		}
	}
	for _, o := range []sandboxOptions{
		{running: -1},
		{things: 5, running: -1},
		{things: 5, running: 5},
		{things: 5, running: 0},
		{running: -1, devices: []string{"dev-0001"}},
		{things: 3, running: 1, devices: []string{"dev-0002"}},
		{things: 3, running: -1, devices: []string{"my-pi", "dev-0004"}},
	} {
		if err := o.checkFleet(); err != nil {
			t.Errorf("%d of %d, and %q: %v", o.running, o.things, o.devices, err)
		}
	}
}

func TestDeviceGreetingNamesTheWayIn(t *testing.T) {
	one := sandboxOptions{devices: []string{"my-pi"}, running: -1}
	for name, tt := range map[string]struct {
		options sandboxOptions
		fleet   *fleet.Fleet
		want    string
		without string
	}{
		"outside a shell":    {one, &fleet.Fleet{SSHConfig: "/a b/config"}, "  bin/culvert ssh -F '/a b/config' my-pi\n", "Leaving"},
		"in a shell":         {sandboxOptions{devices: one.devices, shell: true}, &fleet.Fleet{SSHConfig: "/a b/config"}, "  culvert ssh my-pi\n", "export"},
		"without ssh":        {one, &fleet.Fleet{NoSSH: "sshd is missing"}, "There is no ssh on it: sshd is missing.\n", "culvert ssh"},
		"several":            {sandboxOptions{devices: []string{"a", "b", "c"}}, &fleet.Fleet{}, "with the devices a, b and c.\n", "fleet"},
		"beside a fleet":     {sandboxOptions{devices: one.devices, things: 3, running: -1}, &fleet.Fleet{}, "with the device my-pi, and a fleet of 3 things, ", "devices"},
		"the other services": {one, &fleet.Fleet{}, "  bin/culvert ssh my-pi\n", "-F"},
	} {
		text := deviceGreeting(addresses, "bin/culvert", &tt.options, tt.fleet)
		if !strings.Contains(text, tt.want) || strings.Contains(text, tt.without) {
			t.Errorf("%s:\n%s", name, text)
		}
		if n := strings.Count(text, "\n"); n > 23 {
			t.Errorf("%s: %d lines", name, n)
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
