package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// webProxy is an HTTP proxy on a loopback port that knows CONNECT alone and takes every name for this machine.
type webProxy struct {
	address string

	mu      sync.Mutex
	targets []string // what was asked for
	auth    []string // Proxy-Authorization of each request
}

func startWebProxy(t *testing.T) *webProxy {
	p := &webProxy{}
	p.address = server(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil || req.Method != http.MethodConnect {
			return
		}
		p.mu.Lock()
		p.targets = append(p.targets, req.Host)
		p.auth = append(p.auth, req.Header.Get("Proxy-Authorization"))
		p.mu.Unlock()
		_, port, err := net.SplitHostPort(req.Host)
		if err != nil {
			return
		}
		target, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		defer target.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(target, in); _ = target.Close() })
		both.Go(func() { _, _ = io.Copy(c, target); _ = c.Close() })
		both.Wait()
	})
	return p
}

func (p *webProxy) asked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.targets, " ")
}

// TestWebProxyOfTheEnvironment runs the daemon where the only way out is a web proxy: the names that it is to
// connect to cannot be resolved on this machine.
func TestWebProxyOfTheEnvironment(t *testing.T) {
	const name = "aws.invalid"
	box := startSandbox(t, sandbox.Config{
		Advertise: name, Names: []string{name}, Services: map[string]string{"ECHO": echoServer(t)},
	})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("MQTT and tunnel go through it", func(t *testing.T) {
		web := startWebProxy(t)
		d := startDaemon(t, files.ConfigFile, "https_proxy=http://user:passw0rd@"+web.address)
		d.hide("passw0rd")
		d.waitLog(t, "mqtt subscribed", 20*time.Second)
		tunnel := openTunnel(t, box, d, "ECHO")
		d.waitLog(t, "tunnel connected", 10*time.Second)
		source := proxySource(t, box, tunnel.SourceToken, web.address)
		eventually(t, 5*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
		_, mqttPort, _ := net.SplitHostPort(box.MQTT)
		if asked := web.asked(); !strings.Contains(asked, name+":"+mqttPort) || strings.Count(asked, name) < 2 {
			t.Errorf("the proxy was asked for %s", asked)
		}
		for _, auth := range web.auth {
			if auth == "" {
				t.Error("a request without Proxy-Authorization")
			}
		}
		d.stop(t)
	})
	t.Run("no_proxy is respected", func(t *testing.T) {
		web := startWebProxy(t)
		d := startDaemon(t, files.ConfigFile, "https_proxy=http://"+web.address, "no_proxy=.invalid")
		d.waitLog(t, "mqtt connection failed", 20*time.Second)
		if asked := web.asked(); asked != "" {
			t.Errorf("the proxy was asked for %s", asked)
		}
	})
	t.Run("a proxy that is not there is named", func(t *testing.T) {
		d := startDaemon(t, files.ConfigFile, "https_proxy=http://user:passw0rd@127.0.0.1:1")
		d.hide("passw0rd")
		line := d.waitLog(t, "mqtt connection failed", 20*time.Second)
		if !strings.Contains(line, "127.0.0.1:1") || !strings.Contains(line, "https_proxy") {
			t.Errorf("neither the proxy nor its variable is named: %s", line)
		}
	})
}

// proxySource is startSource where the data endpoint's name can be reached through a web proxy alone.
func proxySource(t *testing.T, box *sandbox.Sandbox, token, web string) *proxy.Source {
	t.Helper()
	t.Setenv("https_proxy", "http://u:p@"+web)
	return startSource(t, box, token, proxy.V3)
}
