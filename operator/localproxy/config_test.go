package localproxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-iot/culvert/proxy"
)

func noEnvironment(string) string { return "" }

// base is a usable command line of a source.
func base(more ...string) Values {
	v := Values{optAccessToken: "SECRET-TOKEN", optRegion: "eu-west-1", optSource: "0"}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == "-" {
			delete(v, more[i])
		} else {
			v[more[i]] = more[i+1]
		}
	}
	return v
}

func destinationBase(more ...string) Values {
	return base(append([]string{optSource, "-", optDestination, "22"}, more...)...)
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// rootPEM is a root certificate, and a server that has it.
func rootPEM(t *testing.T) (string, *httptest.Server) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), s
}

func wantResume(want time.Duration) func(*testing.T, *Config) {
	return func(t *testing.T, c *Config) {
		t.Helper()
		wantEqual(t, want, c.ResumeTimeout)
	}
}

func TestEveryOption(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := t.TempDir()
	root, server := rootPEM(t)
	trusts := func(t *testing.T, c *Config) {
		t.Helper()
		pool := c.TLS.RootCAs
		if _, err := server.Certificate().Verify(x509.VerifyOptions{Roots: pool, DNSName: "example.com"}); err != nil {
			t.Errorf("the certificate is not trusted: %v", err)
		}
	}
	tests := []struct {
		name  string
		flags Values
		check func(t *testing.T, c *Config)
	}{
		{"-t is the access token, with a warning that does not show it", base(), func(t *testing.T, c *Config) {
			wantEqual(t, "SECRET-TOKEN", c.AccessToken.Reveal())
			wantWarning(t, c, "AWSIOT_TUNNEL_ACCESS_TOKEN")
		}},
		{"-i is the client token", base(optClientToken, strings.Repeat("c", 32)), func(t *testing.T, c *Config) {
			wantEqual(t, strings.Repeat("c", 32), c.ClientToken.Reveal())
			wantWarning(t, c, "AWSIOT_TUNNEL_CLIENT_TOKEN")
		}},
		{"-r is the region's endpoint", base(), wantEndpoint("wss://data.tunneling.iot.eu-west-1.amazonaws.com:443")},
		{"-r in China", base(optRegion, "cn-north-1"), wantEndpoint("wss://data.tunneling.iot.cn-north-1.amazonaws.com.cn:443")},
		{"-e is a host", base(optRegion, "-", optEndpoint, "Example.com"), wantEndpoint("wss://example.com:443")},
		{"-e is a host and a port", base(optRegion, "-", optEndpoint, "example.com:8443"), wantEndpoint("wss://example.com:8443")},
		{"-e is an IPv6 address", base(optRegion, "-", optEndpoint, "::1"), wantEndpoint("wss://[::1]:443")},
		{"-e is an IPv6 address in brackets", base(optRegion, "-", optEndpoint, "[::1]"), wantEndpoint("wss://[::1]:443")},
		{"-e is an IPv6 address and a port", base(optRegion, "-", optEndpoint, "[::1]:99"), wantEndpoint("wss://[::1]:99")},
		{"-e is a wss URL", base(optRegion, "-", optEndpoint, "wss://example.com/other"), wantEndpoint("wss://example.com/other")},
		{"-e is a ws URL", base(optRegion, "-", optEndpoint, "ws://127.0.0.1:80"), wantEndpoint("ws://127.0.0.1:80")},
		{"connections are kept for 10 minutes", base(), wantResume(10 * time.Minute)},
		{"--resume-timeout", base(optResume, "1h30m"), wantResume(90 * time.Minute)},
		{"--resume-timeout of a destination", destinationBase(optResume, "24h"), wantResume(24 * time.Hour)},
		{"--resume-timeout 0 keeps none", base(optResume, "0"), wantResume(0)},
		{"-s is a port", base(optSource, "5555"), wantMappings(Source, Mapping{"", "tcp", "127.0.0.1:5555"})},
		{
			"-s is a port of each service", base(optSource, "SSH=5555, V:N-C_1 = 0"),
			wantMappings(Source, Mapping{"SSH", "tcp", "127.0.0.1:5555"}, Mapping{"V:N-C_1", "tcp", "127.0.0.1:0"}),
		},
		{"-s with an address", base(optSource, "SSH=[::1]:5555"), wantMappings(Source, Mapping{"SSH", "tcp", "[::1]:5555"})},
		{"-d is a port", destinationBase(), wantMappings(Destination, Mapping{"", "tcp", "localhost:22"})},
		{"-d is host and port", destinationBase(optDestination, "SSH=10.0.0.1:22"), wantMappings(Destination, Mapping{"SSH", "tcp", "10.0.0.1:22"})},
		{"-d is an IPv6 address", destinationBase(optDestination, "SSH=[fd00::1]:22"), wantMappings(Destination, Mapping{"SSH", "tcp", "[fd00::1]:22"})},
		{
			"-d is a path", destinationBase(optDestination, "SSH=/run/a=b.sock,APP=80"),
			wantMappings(Destination, Mapping{"SSH", "unix", "/run/a=b.sock"}, Mapping{"APP", "tcp", "localhost:80"}),
		},
		{"-d is a bare path", destinationBase(optDestination, "/run/a=b.sock"), wantMappings(Destination, Mapping{"", "unix", "/run/a=b.sock"})},
		{"-d is a relative path", destinationBase(optDestination, "SSH=./app.sock"), func(t *testing.T, c *Config) {
			wd, _ := os.Getwd()
			wantMappings(Destination, Mapping{"SSH", "unix", wd + "/app.sock"})(t, c)
		}},
		{"the first of two endpoints of a service counts", base(optSource, "SSH=1,SSH=2"), func(t *testing.T, c *Config) {
			wantMappings(Source, Mapping{"SSH", "tcp", "127.0.0.1:1"})(t, c)
			wantWarning(t, c, "service SSH has several endpoints")
		}},
		{"-m src needs no mapping", base(optSource, "-", optMode, "src"), wantMappings(Source)},
		{"-m source", base(optSource, "-", optMode, "source"), wantMappings(Source)},
		{"-m dst beside -d", destinationBase(optMode, "dst"), wantMappings(Destination, Mapping{"", "tcp", "localhost:22"})},
		{"-m destination beside -d", destinationBase(optMode, "destination"), wantMappings(Destination, Mapping{"", "tcp", "localhost:22"})},
		{"-b is where a source listens", base(optSource, "5555", optBind, "0.0.0.0"), nil},
		{"-b is an IPv6 address", base(optSource, "5555", optBind, "::1"), wantMappings(Source, Mapping{"", "tcp", "[::1]:5555"})},
		{
			"-b is the host of a destination's ports", destinationBase(optBind, "10.1.1.1", optDestination, "A=22,B=10.2.2.2:23"),
			wantMappings(Destination, Mapping{"A", "tcp", "10.1.1.1:22"}, Mapping{"B", "tcp", "10.2.2.2:23"}),
		},
		{"-c is a file", base(optCAPath, write(t, dir, "one/root.pem", root)), trusts},
		{"-c is a directory of any names", base(optCAPath, filepath.Dir(write(t, dir, "any/root.pem", root))), trusts},
		{"-c is a hashed directory", base(optCAPath, filepath.Dir(write(t, dir, "hashed/1a2b3c4d.0", root))), trusts},
		{"-k verifies nothing, with a warning", base(optNoVerify, "true"), func(t *testing.T, c *Config) {
			wantEqual(t, true, c.TLS.InsecureSkipVerify)
			wantWarning(t, c, "not verified")
		}},
		{"without -k all is verified", base(optNoVerify, "false"), func(t *testing.T, c *Config) {
			wantEqual(t, false, c.TLS.InsecureSkipVerify)
			wantEqual(t, uint16(tls.VersionTLS12), c.TLS.MinVersion)
		}},
		{"-y V1", base(optClientType, "V1"), func(t *testing.T, c *Config) { wantEqual(t, proxy.V1, c.Form) }},
		{"-y V2", base(optClientType, "V2"), func(t *testing.T, c *Config) { wantEqual(t, proxy.V2, c.Form) }},
		{"-y something is V3, with a warning", base(optClientType, "V9"), func(t *testing.T, c *Config) {
			wantEqual(t, proxy.V3, c.Form)
			wantWarning(t, c, "V9")
		}},
		{"a destination needs no -y", destinationBase(optClientType, "V1"), func(t *testing.T, c *Config) { wantWarning(t, c, "needs no -y") }},
		{"-v is 4 by default", base(), func(t *testing.T, c *Config) { wantEqual(t, 4, c.Verbose) }},
		{"-v 0", base(optVerbose, "0"), func(t *testing.T, c *Config) { wantEqual(t, 0, c.Verbose) }},
		{"-v 255 is trace", base(optVerbose, "255"), func(t *testing.T, c *Config) { wantEqual(t, 6, c.Verbose) }},
		{
			"--config is read",
			Values{optConfig: write(t, dir, "config.ini", "# mine\nregion = us-east-1\naccess-token=abc # not this\nsource-listen-port = SSH=5000\nno-ssl-host-verify = true\n")},
			func(t *testing.T, c *Config) {
				wantEndpoint("wss://data.tunneling.iot.us-east-1.amazonaws.com:443")(t, c)
				wantMappings(Source, Mapping{"SSH", "tcp", "127.0.0.1:5000"})(t, c)
				wantEqual(t, "abc", c.AccessToken.Reveal())
				wantEqual(t, true, c.TLS.InsecureSkipVerify)
			},
		},
		{"--config-dir is read with all below it", base(optSource, "-", optMode, "dst", optConfigDir, func() string {
			write(t, dir, "maps/a.ini", "SSH1=22\n; no mapping\nSSH2 = 10.0.0.1:80\nbad.name=1\n")
			write(t, dir, "maps/below/b.ini", "SSH1=23\nAPP=/run/app.sock\n")
			write(t, dir, "maps/below/c.bin", "\x00\x01=\x02")
			return filepath.Join(dir, "maps")
		}()), func(t *testing.T, c *Config) {
			wantMappings(Destination, Mapping{"SSH1", "tcp", "localhost:22"}, Mapping{"SSH2", "tcp", "10.0.0.1:80"}, Mapping{"APP", "unix", "/run/app.sock"})(t, c)
			wantWarning(t, c, "a.ini:4: service \"bad.name\"")
			wantWarning(t, c, "b.ini:1: service SSH1 has an endpoint already")
			wantWarning(t, c, "c.bin is not a text file")
		}},
		{"--config-dir has no effect beside -s", base(optConfigDir, dir), func(t *testing.T, c *Config) { wantWarning(t, c, "--config-dir has no effect") }},
		{
			"--settings-json is read", base(optSettings, write(t, dir, "settings.json", `{"tunneling":{"proxy":{
			"default_bind_address":"::1","websocket":{"ping_period_ms":"5000","connect_retry_count":3,"reconnect_on_data_error":false,"retry_delay_ms":"1"},
			"endpoint_format":"data.%s.example.com","region_endpoint_overrides":{"mars-1":"mars.example.com"},"tcp":{"connection_retry_count":"9"}},"other":1}}`)),
			func(t *testing.T, c *Config) {
				want := Settings{
					BindAddress: "::1", EndpointFormat: "data.%s.example.com", RegionEndpoints: map[string]string{"mars-1": "mars.example.com"},
					PingInterval: 5 * time.Second, ConnectRetries: 3,
				}
				wantEqual(t, want, c.Settings)
				wantEndpoint("wss://data.eu-west-1.example.com:443")(t, c)
				wantMappings(Source, Mapping{"", "tcp", "[::1]:0"})(t, c)
				wantWarning(t, c, "tunneling.proxy.websocket.retry_delay_ms has no effect")
				wantWarning(t, c, "tunneling.proxy.tcp.connection_retry_count has no effect")
				wantWarning(t, c, "tunneling.other is unknown")
				wantEqual(t, 4, len(c.Warnings)) // with that of -t
			},
		},
		{"an endpoint of the settings for the region", base(optRegion, "mars-1", optSettings, filepath.Join(dir, "settings.json")), wantEndpoint("wss://mars.example.com:443")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.flags, noEnvironment)
			if err != nil {
				t.Fatal(err)
			}
			if tt.check != nil {
				tt.check(t, c)
			}
			for _, w := range c.Warnings {
				if strings.Contains(w, "SECRET") || strings.Contains(w, "cccc") {
					t.Errorf("a warning shows a token: %s", w)
				}
			}
		})
	}
}

func wantEqual[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func wantEndpoint(want string) func(*testing.T, *Config) {
	return func(t *testing.T, c *Config) { t.Helper(); wantEqual(t, want, c.Endpoint) }
}

func wantMappings(mode Mode, want ...Mapping) func(*testing.T, *Config) {
	return func(t *testing.T, c *Config) {
		t.Helper()
		wantEqual(t, mode, c.Mode)
		if diff := cmp.Diff(want, c.Mappings, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("mappings (-want +got):\n%s", diff)
		}
	}
}

func wantWarning(t *testing.T, c *Config, part string) {
	t.Helper()
	n := 0
	for _, w := range c.Warnings {
		if strings.Contains(w, part) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d warnings say %q, want 1: %q", n, part, c.Warnings)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := t.TempDir()
	tests := []struct {
		name  string
		flags Values
		want  string
	}{
		{"no token", base(optAccessToken, "-"), "AWSIOT_TUNNEL_ACCESS_TOKEN"},
		{"a token with a space", base(optAccessToken, "SECRET TOKEN"), "copy it again"},
		{"a token that is too long", base(optAccessToken, strings.Repeat("S", 5000)), "at most 4096"},
		{"a client token that is too short", base(optClientToken, "SECRET"), "32 to 128"},
		{"a client token with other characters", base(optClientToken, strings.Repeat("SECRET_", 5)), "letters, digits and hyphens"},
		{"neither region nor endpoint", base(optRegion, "-"), "name one of them"},
		{"region and endpoint", base(optEndpoint, "example.com"), "exclude each other"},
		{"no region", base(optRegion, "eu_west"), "only a-z"},
		{"an endpoint with another scheme", base(optRegion, "-", optEndpoint, "https://example.com"), "no https:// URL"},
		{"an endpoint with a bad port", base(optRegion, "-", optEndpoint, "example.com:0"), "out of range"},
		{"an endpoint without its port", base(optRegion, "-", optEndpoint, "example.com:"), "no port follows the colon"},
		{"an endpoint that is no host", base(optRegion, "-", optEndpoint, "exa mple"), "not a host name"},
		{"neither -s nor -d nor -m", base(optSource, "-"), "-s PORT, -d TARGET or -m MODE"},
		{"-s and -d", base(optDestination, "22"), "exclude each other"},
		{"-s and -m dst", base(optMode, "dst"), "contradicts -s"},
		{"-d and -m src", destinationBase(optMode, "src"), "contradicts -d"},
		{"another mode", base(optMode, "both"), "write source (src) or destination (dst)"},
		{"-m dst without a target", base(optSource, "-", optMode, "dst"), "no target is known"},
		{"a port out of range", base(optSource, "SSH=65536"), "out of range"},
		{"a path as a source", base(optSource, "/run/x.sock"), "a source listens on a TCP port"},
		{"no port", base(optSource, ","), "names no port"},
		{"a service without a port", base(optSource, "SSH="), "nothing follows the ="},
		{"a port without its service", base(optSource, "=22"), "there is no service before the ="},
		{"two bare ports", base(optSource, "1,2"), "need their services' names"},
		{"a service with a dot", base(optSource, "SSH.1=22"), "no tunnel can have a service with a dot"},
		{"a service with a slash would be a path", destinationBase(optDestination, "a b=22"), "letters, digits"},
		{"a target without a port", destinationBase(optDestination, "SSH=example.com"), "names no port"},
		{"a bind address that is none", base(optBind, "a b"), "--local-bind-address"},
		{"no certificates there", base(optCAPath, dir), "has no certificate"},
		{"no such certificates", base(optCAPath, filepath.Join(dir, "none")), "correct the path"},
		{"a time to resume that is none", base(optResume, "soon"), "--resume-timeout soon"},
		{"a time to resume that is too long", base(optResume, "24h1s"), "--resume-timeout 24h1s"},
		{"a time to resume below 0", base(optResume, "-1s"), "--resume-timeout -1s"},
		{"a level that is none", base(optVerbose, "256"), "--verbose 256"},
		{"no such --config", base(optConfig, filepath.Join(dir, "none")), "--config"},
		{"an unknown option in --config", base(optConfig, write(t, dir, "c1", "region = x\nsport = 1\n")), "c1:2: there is no option \"sport\""},
		{"a line of --config that is none", base(optConfig, write(t, dir, "c2", "region\n")), "c2:1: a line is"},
		{"twice in --config", base(optConfig, write(t, dir, "c3", "region = x\nregion = y\n")), "c3:2: region is there twice"},
		{"no switch in --config", base(optConfig, write(t, dir, "c4", "no-ssl-host-verify = perhaps\n")), "neither true nor false"},
		{"no such --config-dir", base(optSource, "-", optMode, "src", optConfigDir, filepath.Join(dir, "none")), "correct the path"},
		{"a --config-dir that is a file", base(optSource, "-", optMode, "src", optConfigDir, write(t, dir, "file", "")), "not a directory"},
		{"no such --settings-json", base(optSettings, filepath.Join(dir, "none")), "--settings-json"},
		{"settings that are no object", base(optSettings, write(t, dir, "s1", "[]")), "not a JSON object"},
		{"settings with a number that is none", base(optSettings, write(t, dir, "s2", `{"tunneling":{"proxy":{"websocket":{"ping_period_ms":"soon"}}}}`)), "milliseconds"},
		{"settings with a format without a region", base(optSettings, write(t, dir, "s3", `{"tunneling":{"proxy":{"endpoint_format":"x"}}}`)), "where the region belongs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(tt.flags, noEnvironment)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if _, ok := err.(*UsageError); !ok {
				t.Errorf("%T, want *UsageError", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q does not say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q shows a token or has several lines", err)
			}
		})
	}
}
