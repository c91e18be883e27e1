package config

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/services"
)

const minimal = "thing_name = \"t\"\n" + requiredPart

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse(strings.NewReader(text), "/etc/culvert/culvertd.toml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestEveryDefault(t *testing.T) {
	want := &Config{
		ThingName: "t",
		MQTT: MQTT{
			Broker:   settings.Broker{Endpoint: "h", Port: 8883, ClientID: "t-tunnel", KeepAlive: time.Minute, PersistentSession: true},
			CertFile: "/etc/culvert/c", KeyFile: "/etc/culvert/k",
		},
		Tunnel: Tunnel{
			Sessions:       settings.Sessions{MaxTunnels: 8, ResumeTimeout: 10 * time.Minute, StateDir: "/var/lib/culvert"},
			ConnectTimeout: 5 * time.Second,
		},
		Hooks:   settings.Hooks{Timeout: 10 * time.Second},
		Log:     Log{Level: slog.LevelInfo, Format: "text"},
		Control: Control{Socket: "/run/culvert/culvertd.sock"},
		Path:    "/etc/culvert/culvertd.toml",
	}
	if diff := cmp.Diff(want, mustParse(t, minimal)); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	got := mustParse(t, `
thing_name = "a:b_C-1"
[mqtt]
endpoint = "[2001:db8::1]:443"
client_id = "my/client"
ca_file = "ca.pem"
cert_file = "../c.pem"
key_file = "/keys/k.pem"
keep_alive = "20m"
persistent_session = false
[tunnel]
endpoint = "wss://relay.example:8443/"
ca_file = "certs/relay.pem"
regions = ["eu-west-1", "cn-north-1", "eu-west-1"]
max_tunnels = 1_000
idle_timeout = "1h30m"
resume_timeout = "24h"
connect_timeout = "250ms"
state_dir = "state"
[services]
SSH = 22
HTTP = "localhost:8080"
APP = "unix:/run/app.sock"
"a:b" = 0x50
OFF = { address = "[::1]:80", enabled = false, idle_timeout = "0s" }
[services.VNC]
address = 5900
max_connections = 4
idle_timeout = "30m"
max_duration = "8h"
enabled = true
[hooks]
command = ["/usr/lib/culvert/hook", "", "--light", "a b"]
timeout = "1m"
events = ["tunnel_closed", "connection_opened", "tunnel_closed"]
[log]
level = "debug"
format = "json"
[control]
socket = "c.sock"
group = "ops"
[metrics]
listen = "9273"
`)
	want := &Config{
		ThingName: "a:b_C-1",
		MQTT: MQTT{
			Broker: settings.Broker{Endpoint: "2001:db8::1", Port: 443, ClientID: "my/client", KeepAlive: 20 * time.Minute},
			CAFile: "/etc/culvert/ca.pem", CertFile: "/etc/c.pem", KeyFile: "/keys/k.pem",
		},
		Tunnel: Tunnel{
			Sessions: settings.Sessions{
				Endpoint: "wss://relay.example:8443", Regions: []string{"eu-west-1", "cn-north-1"},
				MaxTunnels: 1000, ResumeTimeout: 24 * time.Hour, StateDir: "/etc/culvert/state",
			},
			CAFile: "/etc/culvert/certs/relay.pem", IdleTimeout: 90 * time.Minute, ConnectTimeout: 250 * time.Millisecond,
		},
		Services: []services.Service{
			{Name: "SSH", Network: "tcp", Address: "127.0.0.1:22", IdleTimeout: 90 * time.Minute},
			{Name: "HTTP", Network: "tcp", Address: "localhost:8080", IdleTimeout: 90 * time.Minute},
			{Name: "APP", Network: "unix", Address: "/run/app.sock", IdleTimeout: 90 * time.Minute},
			{Name: "a:b", Network: "tcp", Address: "127.0.0.1:80", IdleTimeout: 90 * time.Minute},
			{Name: "OFF", Network: "tcp", Address: "[::1]:80", Disabled: true},
			{Name: "VNC", Network: "tcp", Address: "127.0.0.1:5900", MaxConnections: 4, IdleTimeout: 30 * time.Minute, MaxDuration: 8 * time.Hour},
		},
		Hooks: settings.Hooks{
			Command: []string{"/usr/lib/culvert/hook", "", "--light", "a b"}, Timeout: time.Minute, Events: []string{"tunnel_closed", "connection_opened"},
		},
		Log:     Log{Level: slog.LevelDebug, Format: "json"},
		Control: Control{Socket: "/etc/culvert/c.sock", Group: "ops"},
		Metrics: Metrics{Listen: "127.0.0.1:9273"},
		Path:    "/etc/culvert/culvertd.toml",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.MQTT.Address() != "[2001:db8::1]:443" || !cmp.Equal(got.MQTT.ALPN(), []string{"x-amzn-mqtt-ca"}) {
		t.Errorf("Address %s, ALPN %v", got.MQTT.Address(), got.MQTT.ALPN())
	}
	if alpn := (MQTT{Broker: settings.Broker{Port: 8883}}).ALPN(); alpn != nil {
		t.Errorf("ALPN on 8883: %v", alpn)
	}
}

// with returns the minimal configuration with a key put in its place.
func with(section, setting string) string {
	switch section {
	case "":
		if strings.Contains(setting, "[mqtt]") {
			return setting + "\n"
		}
		return setting + "\n" + requiredPart
	case "mqtt":
		return minimal + setting + "\n"
	}
	return minimal + "[" + section + "]\n" + setting + "\n"
}

func tpmConfig(key string) string {
	return "thing_name = \"t\"\n[mqtt]\nendpoint = \"h\"\ncert_file = \"c\"\nkey_file = \"" + key + "\""
}

func byName(setting string) string {
	return "thing_name = \"t\"\n[mqtt]\nendpoint = \"h\"\n" + setting
}

func TestValuesThatAreRight(t *testing.T) {
	tests := []struct {
		name, section, setting string
		get                    func(*Config) any
		want                   any
	}{
		{"a client id of nothing is the default", "mqtt", `client_id = ""`, func(c *Config) any { return c.MQTT.ClientID }, "t-tunnel"},
		{"a client id beyond ASCII", "mqtt", `client_id = "gerät"`, func(c *Config) any { return c.MQTT.ClientID }, "gerät"},
		{"a key of the system's TPM", "", tpmConfig("tpm:0x81000001"), func(c *Config) any { return c.MQTT.TPMKey }, TPMKey{"", 0x81000001}},
		{"a key of another TPM", "", tpmConfig("tpm:/dev/tpmrm1:0x81ffffff"), func(c *Config) any { return c.MQTT.TPMKey }, TPMKey{"/dev/tpmrm1", 0x81ffffff}},
		{"a handle in decimal", "", tpmConfig("tpm:2164260865"), func(c *Config) any { return c.MQTT.TPMKey.Handle }, uint32(0x81000001)},
		{"a key in a TPM is no file", "", tpmConfig("tpm:0x81000001"), func(c *Config) any { return c.MQTT.KeyFile }, ""},
		{"an authorizer without a certificate is asked on 443", "", byName("authorizer = \"My_Auth=1\""), func(c *Config) any { return c.MQTT.Address() + c.MQTT.ALPN()[0] }, "h:443mqtt"},
		{"an authorizer's own port", "", "thing_name = \"t\"\n[mqtt]\nendpoint = \"h:8443\"\nauthorizer = \"a\"", func(c *Config) any { return c.MQTT.Address() }, "h:8443"},
		{"an authorizer beside a certificate", "mqtt", `authorizer = "a"`, func(c *Config) any { return []any{c.MQTT.CertFile != "", c.MQTT.ALPN()[0]} }, []any{true, "mqtt"}},
		{"a user name alone keeps the port", "", byName("username = \"u\""), func(c *Config) any { return c.MQTT.Address() }, "h:8883"},
		{"without MQTT nothing of it is needed", "", "thing_name = \"t\"\n[mqtt]\nenabled = false", func(c *Config) any { return c.MQTT.Disabled }, true},
		{"no root file", "mqtt", `ca_file = ""`, func(c *Config) any { return c.MQTT.CAFile }, ""},
		{"the shortest keep-alive", "mqtt", `keep_alive = "30s"`, func(c *Config) any { return c.MQTT.KeepAlive }, 30 * time.Second},
		{"ws:// on loopback", "tunnel", `endpoint = "ws://127.0.0.1:8080"`, func(c *Config) any { return c.Tunnel.Endpoint }, "ws://127.0.0.1:8080"},
		{"ws:// on localhost", "tunnel", `endpoint = "ws://localhost"`, func(c *Config) any { return c.Tunnel.Endpoint }, "ws://localhost"},
		{"ws:// on IPv6 loopback", "tunnel", `endpoint = "ws://[::1]:80"`, func(c *Config) any { return c.Tunnel.Endpoint }, "ws://[::1]:80"},
		{"wss:// without a port", "tunnel", `endpoint = "wss://h"`, func(c *Config) any { return c.Tunnel.Endpoint }, "wss://h"},
		{"no regions", "tunnel", `regions = []`, func(c *Config) any { return len(c.Tunnel.Regions) }, 0},
		{"regions on several lines", "tunnel", "regions = [\n  'a', # one\n  'b',\n]", func(c *Config) any { return c.Tunnel.Regions }, []string{"a", "b"}},
		{"0 without a unit", "tunnel", `idle_timeout = "0"`, func(c *Config) any { return c.Tunnel.IdleTimeout }, time.Duration(0)},
		{"no state directory", "tunnel", `state_dir = ""`, func(c *Config) any { return c.Tunnel.StateDir }, ""},
		{"no control socket", "control", `socket = ""`, func(c *Config) any { return c.Control.Socket }, ""},
		{"metrics on localhost", "metrics", `listen = "localhost:9273"`, func(c *Config) any { return c.Metrics.Listen }, "localhost:9273"},
		{"metrics on IPv6 loopback", "metrics", `listen = "[::1]:9273"`, func(c *Config) any { return c.Metrics.Listen }, "[::1]:9273"},
		{"metrics on a unix socket", "metrics", `listen = "unix:/run/m"`, func(c *Config) any { return c.Metrics.Listen }, "unix:/run/m"},
		{"no metrics", "metrics", `listen = ""`, func(c *Config) any { return c.Metrics.Listen }, ""},
		{"a service with no limit in words", "services", `a = { address = 1, max_connections = 0 }`, func(c *Config) any { return c.Services[0].MaxConnections }, 0},
		{"services that differ in case", "services", "a = 1\nA = 2", func(c *Config) any { return len(c.Services) }, 2},
		{"a metadata address that is written out", "services", `a = "169.254.169.254:80"`, func(c *Config) any { return c.Services[0].Address }, "169.254.169.254:80"},
		{"no services", "services", "", func(c *Config) any { return len(c.Services) }, 0},
		{"dotted keys", "", "thing_name = \"t\"\nlog.level = \"warn\"\nlog.format = \"json\"", func(c *Config) any { return c.Log }, Log{slog.LevelWarn, "json"}},
		{"an inline section", "", "thing_name = \"t\"\nlog = { level = \"error\" }", func(c *Config) any { return c.Log.Level }, slog.LevelError},
		{"a service's table before its section", "", "thing_name = \"t\"\n[services.a]\naddress = 1\n[services]\nb = 2", func(c *Config) any { return len(c.Services) }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.get(mustParse(t, with(tt.section, tt.setting)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheLongestThingNameNeedsAClientID(t *testing.T) {
	name := strings.Repeat("x", 128)
	cfg := mustParse(t, "thing_name = \""+name+"\"\n"+requiredPart+"client_id = \"c\"\n")
	if cfg.ThingName != name || cfg.MQTT.ClientID != "c" {
		t.Errorf("%q, %q", cfg.ThingName, cfg.MQTT.ClientID)
	}
	name = strings.Repeat("x", 121) // with "-tunnel" just 128
	if cfg := mustParse(t, "thing_name = \""+name+"\"\n"+requiredPart); cfg.MQTT.ClientID != name+"-tunnel" {
		t.Errorf("%q", cfg.MQTT.ClientID)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	cfg, err := Parse(strings.NewReader(minimal), "sub/culvertd.toml")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := filepath.Abs("sub/c")
	if cfg.MQTT.CertFile != want || !filepath.IsAbs(cfg.Path) {
		t.Errorf("cert_file %s, want %s; path %s", cfg.MQTT.CertFile, want, cfg.Path)
	}
}
