package check

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// webProxy answers CONNECT: host names lead to the addresses of the map, and others nowhere.
func webProxy(t *testing.T, to map[string]string) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", to[req.Host])
		if err != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
			return
		}
		defer far.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(far, in) }()
		_, _ = io.Copy(c, far)
	})
}

func one(t *testing.T, r Report, id string) *Result {
	t.Helper()
	list := find(r, id)
	if len(list) != 1 {
		t.Fatalf("%d results of %s:\n%s", len(list), id, text(r))
	}
	return list[0]
}

func TestThroughAWebProxy(t *testing.T) {
	const endpoint = "a1b2c3d4-ats.iot.eu-west-1.amazonaws.com"
	b := newBed(t)
	web := webProxy(t, map[string]string{endpoint + ":443": b.box.MQTTALPN, "data.example:8443": strings.TrimPrefix(b.box.RelayURL, "wss://")})
	t.Setenv("https_proxy", "http://user:hidden@"+web)
	b.edit(b.box.MQTT, endpoint+":443")
	b.edit(b.box.RelayURL, "wss://data.example:8443")
	r := b.examine()
	for id, parts := range map[string]string{
		"proxy": "http://" + web + ", named by https_proxy", "mqtt.name": "resolved by the web proxy", "tunnel.name": "resolved by the web proxy",
		"mqtt.tcp": endpoint + ":443 through http://" + web, "tunnel.tcp": "data.example:8443 through http://" + web,
		// The sandbox's certificates are not for these names, which shows that TLS goes to the very end.
		"mqtt.tls": "TLS handshake…" + endpoint, "tunnel.tls": "data.example:8443 shows a certificate for another name",
	} {
		if c := one(t, r, id); !has(c.Text, parts) {
			t.Errorf("%s lacks %q: %s", id, parts, c.Text)
		}
	}
	if strings.Contains(text(r), "hidden") {
		t.Error("the password is shown")
	}
	fits(t, r)
}

func TestFaultsOfTheWebProxy(t *testing.T) {
	refusing := webProxy(t, nil)
	for _, c := range []struct{ name, value, id, text, remedy string }{
		{"no URL", "http://user:hid den@:1", "proxy", "https_proxy: not a proxy URL", "correct or unset https_proxy"},
		{"nothing listens", "http://user:hidden@" + free(t), "mqtt.tcp", "(from https_proxy)…cannot connect to the proxy", "check https_proxy and that the proxy runs"},
		{"it forbids the host", "http://user:hidden@" + refusing, "tunnel.tcp", "403 Forbidden", "have the proxy's administrator allow CONNECT"},
		{"another scheme", "ftp://" + refusing, "mqtt.tcp", `proxies of scheme "ftp" are not supported`, "use an http://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t)
			b.edit(b.box.MQTT, "broker.example:8883")
			b.edit(b.box.RelayURL, "wss://data.example:8443")
			t.Setenv("https_proxy", c.value)
			r := b.examine()
			if got := one(t, r, c.id); got.Status != Failed || !has(got.Text, c.text) || !has(got.Remedy, c.remedy) {
				t.Errorf("got %+v", got)
			}
			if s := text(r); strings.Contains(s, "hid") {
				t.Errorf("the password is shown:\n%s", s)
			}
			fits(t, r)
		})
	}
}
