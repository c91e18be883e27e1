package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/cmd/culvert/fleet"
	"github.com/culvert-iot/culvert/sandbox"
)

// maxFleet bounds the things of a fleet. The machine bounds those that run.
const maxFleet = 100_000

// plan returns the fleet that --things and --running describe.
func (o *sandboxOptions) plan() fleet.Plan { return fleet.Plan{Things: o.things, Running: o.running} }

// hasDevices reports whether devices run in this process.
func (o *sandboxOptions) hasDevices() bool { return o.things > 0 || len(o.devices) > 0 }

// checkFleet checks the numbers of a fleet, and that each of its devices runs once.
func (o *sandboxOptions) checkFleet() error {
	switch {
	case o.things < 0 || o.things > maxFleet:
		return fmt.Errorf("--things %d must be 1 to %d", o.things, maxFleet)
	case o.things == 0 && o.running >= 0:
		return fmt.Errorf("--running %d needs --things", o.running)
	case o.running < -1, o.running > o.things:
		return fmt.Errorf("--running %d must be 0 to %d", o.running, o.things)
	}
	for _, name := range o.devices {
		if o.plan().Connects(name) {
			return fmt.Errorf("--device %s: it runs already, as one of --things %d", name, o.things)
		}
	}
	return nil
}

// fleetGreeting is [greeting] for a fleet. inShell is true with --shell, whose environment is set already.
func fleetGreeting(a sandbox.Addresses, culvert string, o *sandboxOptions, f *fleet.Fleet, inShell bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	in := syntaxOn(runtime.GOOS)
	culvert = in.quote(culvert)
	line("The sandbox is up, with a fleet of %s.", o.plan().Describe())
	if inShell {
		line("This shell is set up for it. Try:")
	} else {
		line("It is AWS IoT on this machine, for tests. In another terminal:")
		for _, v := range environment(a) {
			line("  %s", in.set(v[0], v[1]))
		}
		line("")
		line("Then look at the fleet:")
	}
	name := fleet.Name(1)
	line("  %s ls --offline", culvert)
	line("  %s ls --attribute site=%s", culvert, fleet.Sites[0])
	line("  %s ping -c 1 %s", culvert, name)
	line("  %s doctor %s", culvert, name)
	line("")
	if f.NoSSH == "" {
		config := ""
		if f.SSHConfig != "" {
			config = " -F " + in.quote(f.SSHConfig)
		}
		line("Run commands on it:")
		line("  %s exec%s --group %s -- 'echo I am $CULVERT_THING'", culvert, config, fleet.Canary)
		line("  %s ssh%s %s", culvert, config, name)
	} else {
		line("Its devices have no ssh, so exec and ssh fail: %s.", f.NoSSH)
		line("  %s connect %s HTTP=8080", culvert, name)
	}
	line("")
	line("Stop MQTT and start it again, or cut all tunnels (more: %s/):", a.Admin)
	line("  curl %s/mqtt/stop -d ''", a.Admin)
	line("  curl %s/mqtt/start -d ''", a.Admin)
	line(`  curl %s/faults/relay -d '{"do": "cut"}'`, a.Admin)
	line("%s ends it.", map[bool]string{true: "Leaving the shell", false: "Ctrl-C"}[inShell])
	return b.String()
}

// deviceGreeting is [greeting] for --device.
func deviceGreeting(a sandbox.Addresses, culvert string, o *sandboxOptions, f *fleet.Fleet) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	in := syntaxOn(runtime.GOOS)
	culvert = in.quote(culvert)
	name, config := o.devices[0], ""
	what := "the device " + name
	if more := len(o.devices) - 1; more > 0 {
		what = "the devices " + strings.Join(o.devices[:more], ", ") + " and " + o.devices[more]
	}
	if o.things > 0 {
		what += fmt.Sprintf(", and a fleet of %s", o.plan().Describe())
	}
	line("The sandbox is up, with %s.", what)
	if o.shell {
		culvert = "culvert" // its directory is first in the shell's PATH
		line("This shell is set up for it. Try:")
	} else {
		line("It is AWS IoT on this machine, for tests. In another terminal:")
		for _, v := range environment(a) {
			line("  %s", in.set(v[0], v[1]))
		}
		if f.SSHConfig != "" {
			config = " -F " + in.quote(f.SSHConfig)
		}
	}
	line("  %s ls", culvert)
	line("  %s ping -c 1 %s", culvert, name)
	line("  %s connect %s HTTP=8080", culvert, name)
	if f.NoSSH == "" {
		line("  %s ssh%s %s", culvert, config, name)
	} else {
		line("There is no ssh on it: %s.", f.NoSSH)
	}
	line("Watch it, or cut the network (list of faults: %s/):", a.Admin)
	line("  curl %s/state", a.Admin)
	line(`  curl %s/faults/relay -d '{"do": "cut"}'`, a.Admin)
	line("%s ends it.", map[bool]string{true: "Leaving the shell", false: "Ctrl-C"}[o.shell])
	return b.String()
}
