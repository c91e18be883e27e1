package e2e

import (
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
	options "github.com/culvert-iot/culvert/operator/localproxy"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// flagBench is a device with a daemon, and what culvert proxy may be told of it.
type flagBench struct {
	box  *sandbox.Sandbox
	dir  string
	used map[string]bool // flags, by their long names
}

// flagCase is a tunnel to the service ECHO, and how culvert proxy is called with it.
type flagCase struct {
	*flagBench

	token, client string
	words         *strings.Replacer // what stands for what, in arguments, variables and files
}

func (b *flagBench) newCase(t *testing.T) *flagCase {
	t.Helper()
	tunnel := tunnelFor(t, b.box, "ECHO")
	t.Cleanup(func() { _ = b.box.Store.Close(tunnel.Tunnel.ID, true) })
	eventually(t, 20*time.Second, "the device is connected", func() bool {
		d, err := b.box.Store.Describe(tunnel.Tunnel.ID)
		return err == nil && d.DestinationState.Status == tunnels.Connected
	})
	u, err := url.Parse(b.box.RelayURL)
	if err != nil {
		t.Fatal(err)
	}
	c := &flagCase{flagBench: b, token: tunnel.SourceToken, client: "0123456789abcdef0123456789abcdef-" + secret.New(tunnel.SourceToken).ID()}
	c.words = strings.NewReplacer("$TOKEN", c.token, "$CLIENT", c.client, "$HOST", u.Hostname(), "$PORT", u.Port(), "$URL", b.box.RelayURL, "$CA", b.box.CAFile())
	return c
}

// run starts culvert proxy with args, and with nothing in its environment but env.
func (c *flagCase) run(t *testing.T, env []string, args ...string) localproxy {
	t.Helper()
	var lines, words []string
	for _, v := range env {
		lines = append(lines, c.words.Replace(v))
	}
	for _, a := range args {
		words = append(words, c.words.Replace(a))
		for _, o := range options.Options() {
			if a == "-"+o.Short || a == "--"+o.Name {
				c.used[o.Name] = true
			}
		}
	}
	return runProxy(t, c.dir, lines, []string{c.token, c.client}, words...)
}

// write makes a file, by a path below the bench's directory.
func (c *flagCase) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(c.words.Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// echoes has a source's only port answer once.
func (p localproxy) echoes(t *testing.T) {
	t.Helper()
	c := dialPort(t, p.port(t))
	wantEcho(t, c, "hello")
	_ = c.Close()
}

// TestEveryFlagOfALocalProxy uses each flag, and each variable, for what it is there for: the real program is given
// that and nothing else that could do it in its place.
func TestEveryFlagOfALocalProxy(t *testing.T) {
	t.Parallel()
	echo := echoServer(t)
	b := &flagBench{box: startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echo}}), dir: shortDir(t), used: map[string]bool{}}
	device := startDaemon(t, b.box.Devices()[0].ConfigFile)
	device.waitLog(t, "mqtt subscribed", 20*time.Second)
	token, endpoint, roots := "AWSIOT_TUNNEL_ACCESS_TOKEN=$TOKEN", "AWSIOT_TUNNEL_ENDPOINT=$URL", "SSL_CERT_FILE=$CA"
	all := []string{token, endpoint, roots}
	const overrides = `{"tunneling":{"proxy":{"region_endpoint_overrides":{"mars-1":"$HOST:$PORT"}}}}`

	for _, tt := range []struct {
		name string
		env  []string
		args []string
		file [2]string // its name below the working directory, and what it holds
		log  string    // a line that must be there
	}{
		{name: "the environment", env: all, args: []string{"-s", "ECHO=0"}},
		{name: "-t", env: all[1:], args: []string{"-s", "0", "-t", "$TOKEN"}, log: "every user of this machine can read it"},
		{name: "-e host and port, and -c a file", env: all[:1], args: []string{"-s", "0", "-e", "$HOST:$PORT", "-c", "$CA"}},
		{name: "long names", args: []string{"--source-listen-port", "ECHO=0", "--access-token", "$TOKEN", "--proxy-endpoint", "$URL", "--capath", "$CA"}},
		{name: "-c a directory", env: all[:2], args: []string{"-s", "0", "-c", "roots"}, file: [2]string{"roots/deep/1a2b3c4d.0", "$PEM"}},
		{name: "-k", env: all[:2], args: []string{"-s", "0", "-k"}, log: "certificate is not verified"},
		{
			name: "-r, and an endpoint of --settings-json for it", env: []string{token, roots}, args: []string{"-s", "0", "-r", "mars-1", "--settings-json", "s.json"},
			file: [2]string{"s.json", overrides},
		},
		{
			name: "AWSIOT_TUNNEL_REGION", env: []string{token, roots, "AWSIOT_TUNNEL_REGION=mars-1"}, args: []string{"-s", "0", "--settings-json", "s.json"},
			file: [2]string{"s.json", overrides},
		},
		{name: "-m src, and ports of --config-dir", env: all, args: []string{"-m", "src", "--config-dir", "ports"}, file: [2]string{"ports/a/b.ini", "ECHO = 0\n"}},
		{
			name: "--config", env: all[2:], args: []string{"--config", "c.ini"},
			file: [2]string{"c.ini", "access-token = $TOKEN\nclient-token = $CLIENT\nproxy-endpoint = $HOST:$PORT\nsource-listen-port = ECHO=0\nverbose = 5\n"},
			log:  "[debug]",
		},
		{name: "-v 6", env: append(slices.Clone(all), "AWSIOT_TUNNEL_CLIENT_TOKEN=$CLIENT"), args: []string{"-s", "0", "-v", "6"}, log: "[debug]"},
		{name: "-y V1", env: all, args: []string{"-s", "0", "-y", "V1"}},
		{name: "-y V2", env: all, args: []string{"-s", "0", "-y", "V2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := b.newCase(t)
			if name, text := tt.file[0], tt.file[1]; name != "" {
				if text == "$PEM" {
					pem, err := os.ReadFile(b.box.CAFile())
					if err != nil {
						t.Fatal(err)
					}
					text = string(pem)
				}
				c.write(t, name, text)
			}
			p := c.run(t, tt.env, tt.args...)
			p.echoes(t)
			if !strings.Contains(p.log(), tt.log) {
				t.Errorf("it did not say %q", tt.log)
			}
			p.stop(t)
		})
	}
	t.Run("-i lets a program that was started again connect with the same access token", func(t *testing.T) {
		c := b.newCase(t)
		for range 2 {
			p := c.run(t, all, "-s", "0", "-i", "$CLIENT")
			p.echoes(t)
			p.stop(t)
		}
		c.run(t, all, "-s", "0").wantExit(t, 3) // with another one it does not
	})
	t.Run("-b", func(t *testing.T) {
		c := b.newCase(t)
		p := c.run(t, all, "-s", "0", "-b", "127.0.0.2")
		port := p.port(t)
		for host, there := range map[string]bool{"127.0.0.1": false, "127.0.0.2": true} {
			conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if (err == nil) != there {
				t.Errorf("at %s: %v", host, err)
			}
			if err == nil {
				wantEcho(t, conn, "hello")
				_ = conn.Close()
			}
		}
		p.stop(t)
	})
	t.Run("-v 0", func(t *testing.T) {
		c := b.newCase(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		p := c.run(t, all, "-s", port, "-v", "0")
		eventually(t, proxyLimit, "it answers", func() bool { return answersAt("127.0.0.1:" + port) })
		p.stop(t)
		if log := p.log(); strings.Contains(log, "[") || strings.Count(log, "\n") != 1 {
			t.Errorf("more than the banner: %s", log)
		}
	})
	t.Run("-d, with -b as the host of a port", func(t *testing.T) {
		tunnel := tunnelFor(t, b.box) // which notifies no daemon
		c := &flagCase{flagBench: b, token: tunnel.DestinationToken}
		c.words = strings.NewReplacer("$TOKEN", c.token, "$URL", b.box.RelayURL, "$CA", b.box.CAFile())
		host, port, _ := net.SplitHostPort(echo)
		for _, args := range [][]string{{"-d", "ECHO=" + echo}, {"--destination-app", port, "--local-bind-address", host, "--mode", "dst"}} {
			p := c.run(t, append(slices.Clone(all), "AWSIOT_TUNNEL_CLIENT_TOKEN="+strings.Repeat("d", 32)), args...)
			p.connected(t)
			source := startSource(t, b.box, tunnel.SourceToken, proxy.V3)
			eventually(t, proxyLimit, "the tunnel answers", func() bool { return answers(source, "", time.Second) })
			p.stop(t)
			r, err := b.box.Store.Rotate(tunnel.Tunnel.ID, "SOURCE", nil)
			if err != nil {
				t.Fatal(err)
			}
			tunnel.SourceToken = r.SourceToken
		}
	})
	t.Run("--export-default-settings, which --settings-json takes without a word", func(t *testing.T) {
		c := b.newCase(t)
		c.run(t, nil, "--export-default-settings", "defaults.json").wantExit(t, 0)
		p := c.run(t, all, "-s", "0", "--settings-json", "defaults.json")
		p.echoes(t)
		if strings.Contains(p.log(), "[warning]") {
			t.Error("there are warnings")
		}
		p.stop(t)
	})
	t.Run("--resume-timeout", func(t *testing.T) {
		c := b.newCase(t)
		p := c.run(t, all, "-s", "0", "--resume-timeout", "1h")
		p.echoes(t)
		p.stop(t)
		c.run(t, all, "-s", "0", "--resume-timeout", "25h").wantExit(t, 2)
	})
	t.Run("-h and -V need nothing", func(t *testing.T) {
		c := b.newCase(t)
		for flag, want := range map[string]string{"-h": "--source-listen-port", "-V": "Local Proxy version: ", "--help": "Usage:", "--version": "Local Proxy version: "} {
			p := c.run(t, nil, flag)
			p.wantExit(t, 0)
			if !strings.Contains(p.log(), want) {
				t.Errorf("%s does not say %q", flag, want)
			}
		}
	})
	for _, o := range options.Options() {
		if !b.used[o.Name] {
			t.Errorf("--%s is not tried", o.Name)
		}
	}
	t.Logf("tried: %s", strings.Join(slices.Sorted(maps.Keys(b.used)), ", "))
}

// The data endpoint's name can be reached through a web proxy alone.
func TestWebProxyOfALocalProxy(t *testing.T) {
	t.Parallel()
	const name = "aws.invalid"
	box := startSandbox(t, sandbox.Config{Advertise: name, Names: []string{name}})
	for _, variable := range []string{"https_proxy", "HTTPS_PROXY"} {
		t.Run(variable, func(t *testing.T) {
			web := startWebProxy(t)
			token := tunnelFor(t, box, "ECHO").SourceToken
			env := []string{"AWSIOT_TUNNEL_ACCESS_TOKEN=" + token, "AWSIOT_TUNNEL_ENDPOINT=" + box.RelayURL, "SSL_CERT_FILE=" + box.CAFile(), variable + "=http://u:passw0rd@" + web.address}
			p := runProxy(t, shortDir(t), env, []string{token, "passw0rd"}, "-s", "0", "-v", "6")
			p.connected(t)
			if asked := web.asked(); !strings.HasPrefix(asked, name+":") || web.auth[0] == "" {
				t.Errorf("the proxy was asked for %q", asked)
			}
			p.stop(t)
		})
	}
	for _, variable := range []string{"no_proxy", "NO_PROXY"} {
		t.Run(variable, func(t *testing.T) {
			web := startWebProxy(t)
			token := tunnelFor(t, box, "ECHO").SourceToken
			env := []string{"AWSIOT_TUNNEL_ACCESS_TOKEN=" + token, "AWSIOT_TUNNEL_ENDPOINT=" + box.RelayURL, "SSL_CERT_FILE=" + box.CAFile(), "https_proxy=http://" + web.address, variable + "=.invalid"}
			p := runProxy(t, shortDir(t), env, []string{token}, "-s", "0")
			p.waitLog(t, "next attempt in", proxyLimit)
			if asked := web.asked(); asked != "" {
				t.Errorf("the proxy was asked for %q", asked)
			}
			p.stop(t)
		})
	}
}
