package config

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/internal/trust"
)

// Warnings are what is allowed and yet probably not meant. Each names its key and what to do. It looks at
// the modes of files; a file that is not there is CheckFiles' business.
func (c *Config) Warnings() []string {
	var list []string
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if runtime.GOOS != "windows" { // where these bits mean nothing
		for _, f := range c.secrets() {
			if mode, ok := modeOf(f[1]); ok && mode&0o006 != 0 {
				warn("%s: every user of this machine can read or change %s: chmod 600 %[2]s", f[0], f[1])
			} else if ok && mode&0o020 != 0 {
				warn("%s: the group can change %s: chmod 600 %[2]s", f[0], f[1])
			}
		}
		if mode, ok := modeOf(c.Path); ok && mode&0o002 != 0 {
			warn("%s: every user of this machine can change it, and so choose what tunnels reach: chmod 644 %[1]s", c.Path)
		} else if ok {
			if err := trust.File(c.Path); err != nil {
				warn("the configuration, and so what tunnels reach, is not this user's alone: %v", err)
			}
		}
	}
	secrets := len(c.secrets())
	for i, f := range append(c.secrets(), [][2]string{{"mqtt.ca_file", c.MQTT.CAFile}, {"tunnel.ca_file", c.Tunnel.CAFile}}...) {
		mode, ok := modeOf(f[1])
		switch {
		case !ok:
		case i < secrets:
			if err := trust.Place(f[1]); err != nil { // of the file itself was told
				warn("%s: %v", f[0], err)
			}
		case mode&0o002 != 0 && runtime.GOOS != "windows":
			warn("%s: every user of this machine can change %s, and so choose whom the device trusts: chmod 644 %[2]s", f[0], f[1])
		default:
			if err := trust.File(f[1]); err != nil {
				warn("%s: %v", f[0], err)
			}
		}
	}
	if len(c.Hooks.Command) > 0 {
		if err := trust.Command(c.Hooks.Command); err != nil {
			warn("hooks.command will not be run: %v", err)
		}
	}
	if c.MQTT.ClientID == c.ThingName {
		warn("mqtt.client_id is the thing's name: if the device's own MQTT client uses it too, each will disconnect the other for ever; leave client_id out to get %q", c.ThingName+"-tunnel")
	}
	if legacyEndpoint(c.MQTT.Endpoint) {
		warn("mqtt.endpoint: %s is an endpoint of the old kind, whose certificate current root files do not know: use the one told by %s", c.MQTT.Endpoint, endpointHint)
	}
	enabled := 0
	for _, s := range c.Services {
		if !s.Disabled {
			enabled++
		}
	}
	switch {
	case len(c.Services) == 0:
		warn("services: none is configured, so every connection will be refused: write [services] and beneath it SSH = 22")
	case enabled == 0:
		warn("services: all are disabled, so every connection will be refused")
	}
	return list
}

// secrets are the files that only the daemon's user should be able to read, by their keys.
func (c *Config) secrets() [][2]string {
	return [][2]string{
		{"mqtt.key_file", c.MQTT.KeyFile}, {"mqtt.password_file", c.MQTT.PasswordFile}, {"mqtt.authorizer_token_file", c.MQTT.TokenFile},
	}
}

func modeOf(path string) (os.FileMode, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return info.Mode().Perm(), true
}

// legacyEndpoint knows "<prefix>.iot.<region>.amazonaws.com", without -ats: its certificates were signed
// by a root that is no longer trusted (AWS IoT developer guide, server authentication).
func legacyEndpoint(host string) bool {
	labels := strings.Split(strings.ToLower(host), ".")
	return len(labels) == 5 && labels[1] == "iot" && labels[3] == "amazonaws" && labels[4] == "com" &&
		!strings.HasSuffix(labels[0], "-ats") && labels[0] != "data"
}
