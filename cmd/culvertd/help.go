package main

import (
	"io"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
)

// overview is the help of the program.
const overview = `Usage: culvertd [COMMAND] [OPTIONS]

culvertd makes this device reachable through AWS IoT Secure Tunneling.

Set up this device:
  init      write a first configuration, check it and start the service
              sudo culvertd init --bundle pi-42.tar
  check     try everything that a tunnel needs, and say what to fix
              sudo culvertd check

See what it does:
  status    show the MQTT connection, the services and the tunnels
              culvertd status --watch
  version   show version, commit, Go version and platform

Run it:
  run       serve tunnels until SIGTERM or SIGINT (the default)
              culvertd --config ./culvertd.toml
  notify    hand over a notification that another MQTT client received
              culvertd notify <notification.json

culvertd COMMAND --help lists a command's options. Without --config FILE, the
configuration is ` + config.DefaultPath + `.

Signals: SIGHUP reads the configuration again, SIGTERM and SIGINT end culvertd.
Exit codes: 0 ended on request, 1 failed, 2 wrong usage or configuration.
`

const (
	configOption = "  --config FILE       the configuration (default " + config.DefaultPath + ")\n"
	socketOption = "  --socket PATH       the control socket, instead of the configuration's\n"
)

// commandHelp is the help of each command.
var commandHelp = map[string]string{
	"run": `Usage: culvertd [run] [OPTIONS]

Serves tunnels until SIGTERM or SIGINT. SIGHUP reads the configuration again.

` + configOption + `
Example: culvertd --config ./culvertd.toml
`,
	"status": `Usage: culvertd status [OPTIONS]

Shows what a running culvertd does: the MQTT connection, services and tunnels.

  --watch             show it again every 2 seconds, until Ctrl-C
  --json              print JSON, for programs
` + configOption + socketOption + `
Example: culvertd status --watch
`,
	"notify": `Usage: culvertd notify [OPTIONS] <NOTIFICATION

Hands a tunnel notification to a running culvertd: the JSON payload of the MQTT
message, on standard input. For devices where another program receives it.

` + configOption + socketOption + `
Example: culvertd notify <notification.json
`,
	"init": `Usage: culvertd init [OPTIONS]

Writes a first configuration, checks it and starts the service. It asks for what
no option says. A bundle, made by culvert setup-thing, has everything in it.

  --bundle FILE       take configuration, certificate and key from a bundle
  --thing NAME        the device's thing in AWS IoT
  --endpoint HOST     the account's MQTT endpoint
  --cert FILE         the device's certificate
  --key FILE          its private key, or tpm:HANDLE or credential:NAME
  --ca FILE           the only roots to trust for the MQTT endpoint
  --service NAME=ADDRESS  a service, as SSH=22; may be repeated (default SSH=22)
  --force             replace a configuration that is there; it is kept as .old
  --offline           check only the files, and do not use the network
  --no-start          do not start the service
` + configOption + `
Example: sudo culvertd init --bundle pi-42.tar
`,
	"check": `Usage: culvertd check [OPTIONS]

Tries everything that a tunnel needs, and says what to fix. It changes nothing.

  --offline           check only what needs no network
  --timeout DURATION  how long the whole check may take (default 1m)
  --json              print JSON, for programs
  --bundle FILE       also write a tar.gz for support, without secrets
  --log FILE          put the end of this log into the bundle; - is stdin
` + configOption + `
Example: sudo culvertd check
Example: journalctl -u culvertd | culvertd check --bundle help.tar.gz --log -
`,
	"version": `Usage: culvertd version [OPTIONS]

Shows version, commit, Go version and platform.

  --json              print JSON, for programs

Example: culvertd version
`,
	"help": overview,
}

// help shows the overview, or one command's options.
func (p *program) help(args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		_, err := io.WriteString(p.out, overview)
		return err
	}
	text, ok := commandHelp[args[0]]
	if !ok {
		return p.unknownCommand(args[0])
	}
	_, err := io.WriteString(p.out, text)
	return err
}
