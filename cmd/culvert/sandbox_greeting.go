package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/sandbox"
)

// programNames are the two programs as the user has to type them.
type programNames struct{ culvert, culvertd string }

// namesAsTyped takes the names from the command line: after "bin/culvert sandbox" they are bin/culvert
// and, if it is there, bin/culvertd.
func namesAsTyped(typed string) programNames {
	if filepath.Base(typed) == typed {
		return programNames{"culvert", "culvertd"}
	}
	names := programNames{typed, "culvertd"}
	beside := strings.TrimSuffix(typed, filepath.Base(typed)) + "culvertd"
	if runtime.GOOS == "windows" {
		beside += ".exe"
	}
	if _, err := os.Stat(beside); err == nil { //nolint:gosec // beside this program
		names.culvertd = beside
	}
	return names
}

// syntax writes commands for the user's shell.
type syntax struct {
	set        func(name, value string) string
	background func(command string) string // runs it in the background
	quote      func(word string) string
}

// syntaxOn returns cmd.exe's syntax for Windows, and the POSIX shell's for all other systems.
func syntaxOn(goos string) syntax {
	if goos != "windows" {
		return syntax{
			set:        func(name, value string) string { return "export " + name + "=" + openssh.Quote(value) },
			background: func(command string) string { return command + " &" },
			quote:      openssh.Quote,
		}
	}
	return syntax{
		set:        func(name, value string) string { return "set " + name + "=" + value }, // quotes would become part of the value
		background: func(command string) string { return "start /b " + command },
		quote: func(word string) string {
			if strings.ContainsAny(word, " \t&()^") {
				return `"` + word + `"`
			}
			return word
		},
	}
}

// environment returns the variables with which culvert and the AWS CLI reach the sandbox.
func environment(a sandbox.Addresses) [][2]string {
	return [][2]string{
		{"AWS_ACCESS_KEY_ID", "any"},
		{"AWS_SECRET_ACCESS_KEY", "thing"},
		{"AWS_DEFAULT_REGION", a.Region},
		{"AWS_ENDPOINT_URL", a.API},
		{"AWS_CA_BUNDLE", a.CAFile},
		{dataEndpointVariable, a.Relay},
	}
}

// greeting tells a person what to type next. With its shortest paths it fits a terminal of 80×24.
func greeting(a sandbox.Addresses, names programNames, unsigned bool, in syntax) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	d := a.Devices[0]
	line("The sandbox is up: AWS IoT Secure Tunneling on this machine, for tests.")
	line("It is not for production: it accepts any credentials and keeps nothing.")
	line("")
	line("In a second terminal, run the device's daemon:")
	line("  %s --config %s", in.quote(names.culvertd), in.quote(d.ConfigFile))
	line("")
	line("In a third one, set the environment and reach the device:")
	for _, v := range environment(a) {
		if !unsigned || !strings.HasPrefix(v[0], "AWS_ACCESS") && !strings.HasPrefix(v[0], "AWS_SECRET") {
			line("  %s", in.set(v[0], v[1]))
		}
	}
	unsignedFlags := map[bool]string{true: " --no-sign-request --region " + a.Region}[unsigned]
	line("  %s ssh %s%s", in.quote(names.culvert), d.Thing, unsignedFlags)
	line("")
	line("Or open a tunnel with the AWS CLI:")
	line("  aws iotsecuretunneling open-tunnel --endpoint-url %s%s \\", a.API, unsignedFlags)
	line("      --destination-config thingName=%s,services=SSH", d.Thing)
	line("")
	line("Watch it, or cut the network (list of faults: %s/):", a.Admin)
	line("  curl %s/state", a.Admin)
	line(`  curl %s/faults/relay -d '{"do": "cut"}'`, a.Admin)
	line("MQTT: %s, with ALPN %s. Ctrl-C ends it.", a.MQTT, a.MQTTALPN)
	return b.String()
}

// shellGreeting is [greeting] for --shell, in which the environment is set.
func shellGreeting(a sandbox.Addresses, in syntax) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	d := a.Devices[0]
	line("The sandbox is up, and this shell is set up for it. Try:")
	line("  %s", in.background("culvertd --config "+in.quote(d.ConfigFile)))
	line("  culvert ssh %s", d.Thing)
	line("  curl %s/state", a.Admin)
	line(`  curl %s/faults/relay -d '{"do": "cut"}'`, a.Admin)
	line("Leave the shell to end the sandbox.")
	return b.String()
}
