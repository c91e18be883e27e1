package config

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/trust"
)

// Warnings returns what is allowed and yet probably not meant. Each error names its key; its hint says what to
// do. Warnings looks at the modes of files; missing ones are left to CheckFiles.
func (c *Config) Warnings() []error {
	var list []error
	warn := func(advice, format string, args ...any) {
		list = append(list, hint.Wrap(fmt.Errorf(format, args...), advice))
	}
	if runtime.GOOS != "windows" { // where these bits mean nothing
		for _, f := range c.secrets() {
			if mode, ok := modeOf(f[1]); ok && mode&0o006 != 0 {
				warn("chmod 600 "+f[1], "%s: every user of this machine can read or change %s", f[0], f[1])
			} else if ok && mode&0o020 != 0 {
				warn("chmod 600 "+f[1], "%s: the group can change %s", f[0], f[1])
			}
		}
		if mode, ok := modeOf(c.Path); ok && mode&0o002 != 0 {
			warn("chmod 644 "+c.Path, "%s: every user of this machine can change it, and so choose what tunnels reach", c.Path)
		} else if ok {
			if err := trust.File(c.Path); err != nil {
				warn("", "the configuration, and so what tunnels reach, is not this user's alone: %w", err)
			}
		}
	}
	secrets := len(c.secrets())
	for i, f := range append(c.secrets(), [][2]string{{"mqtt.ca_file", c.MQTT.CAFile}, {"tunnel.ca_file", c.Tunnel.CAFile}}...) {
		mode, ok := modeOf(f[1])
		switch {
		case !ok:
		case i < secrets:
			if err := trust.Place(f[1]); err != nil { // the file itself is covered above
				warn("", "%s: %w", f[0], err)
			}
		case mode&0o002 != 0 && runtime.GOOS != "windows":
			warn("chmod 644 "+f[1], "%s: every user of this machine can change %s, and so choose whom the device trusts", f[0], f[1])
		default:
			if err := trust.File(f[1]); err != nil {
				warn("", "%s: %w", f[0], err)
			}
		}
	}
	if len(c.Hooks.Command) > 0 {
		if err := trust.Command(c.Hooks.Command); err != nil {
			warn("", "hooks.command will not be run: %w", err)
		}
	}
	if c.MQTT.ClientID == c.ThingName && !c.MQTT.Disabled {
		warn(fmt.Sprintf("leave client_id out to get %q", c.ThingName+"-tunnel"),
			"mqtt.client_id is the thing's name: if the device's own MQTT client uses it too, the two keep disconnecting each other")
	}
	switch host := c.MQTT.Endpoint; {
	case c.MQTT.Disabled: // no endpoint is needed
	case legacyEndpoint(host):
		warn("use the one printed by "+endpointHint, "mqtt.endpoint: %s is an endpoint of the old kind, whose certificate current root files do not know", host)
	case !strings.Contains(strings.TrimSuffix(host, "."), ".") && !isLoopback(host) && !strings.Contains(host, ":"):
		warn("use the one printed by "+endpointHint, "mqtt.endpoint: %s has no dot, so it is not an AWS IoT endpoint", host)
	}
	for _, region := range c.Tunnel.Regions {
		if !likelyRegion(region) {
			warn(regionAdvice,
				"tunnel.regions: %q does not look like a region, such as eu-west-1", region)
		}
	}
	enabled := 0
	for _, s := range c.Services {
		if !s.Disabled {
			enabled++
		}
	}
	switch {
	case len(c.Services) == 0:
		warn("write [services] and beneath it SSH = 22", "services: none is configured, so every connection will be refused")
	case enabled == 0:
		warn("", "services: all are disabled, so every connection will be refused")
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

const regionAdvice = "correct it, unless AWS has such a region: tunnels of regions that are not listed are refused"

// likelyRegion reports whether a name has a region's form, such as "eu-west-1" or "us-gov-east-1". It has no list of
// regions, since AWS adds new ones.
func likelyRegion(name string) bool {
	parts := strings.Split(name, "-")
	n := len(parts)
	if n < 3 || len(parts[0]) < 2 || len(parts[n-1]) == 0 || strings.Trim(parts[n-1], "0123456789") != "" {
		return false
	}
	switch parts[n-2] {
	case "north", "south", "east", "west", "central", "northeast", "northwest", "southeast", "southwest":
		return true
	}
	return false
}
