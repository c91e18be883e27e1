package relay

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestRefusedHandshakes(t *testing.T) {
	tests := []struct {
		name   string
		edit   func(g *rig, req *http.Request)
		status int
		body   string
	}{
		{"another path", func(_ *rig, r *http.Request) { r.URL.Path = "/tunnels" }, 400, "Invalid path"},
		{"no mode", func(_ *rig, r *http.Request) { r.URL.RawQuery = "" }, 400, "Invalid local-proxy-mode"},
		{"mode in capitals", func(_ *rig, r *http.Request) { r.URL.RawQuery = "local-proxy-mode=DESTINATION" }, 400, "Invalid local-proxy-mode"},
		{"two modes", func(_ *rig, r *http.Request) { r.URL.RawQuery += "&local-proxy-mode=source" }, 400, "Invalid local-proxy-mode"},
		{"mode of the other side", func(_ *rig, r *http.Request) { r.URL.RawQuery = "local-proxy-mode=source" }, 400, "local proxy mode"},
		{"not a websocket", func(_ *rig, r *http.Request) { r.Header.Del("Upgrade") }, 400, "not a websocket handshake"},
		{"old websocket version", func(_ *rig, r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, 400, "not a websocket handshake"},
		{"POST", func(_ *rig, r *http.Request) { r.Method = http.MethodPost }, 400, "not a websocket handshake"},
		{"no subprotocol", func(_ *rig, r *http.Request) { r.Header.Del("Sec-WebSocket-Protocol") }, 400, "Invalid subprotocol"},
		{"unknown subprotocol", func(_ *rig, r *http.Request) { r.Header.Set("Sec-WebSocket-Protocol", "aws.iot.securetunneling-4.0") }, 400, "Invalid subprotocol"},
		{"no token", func(_ *rig, r *http.Request) { r.Header.Del("access-token") }, 400, "exactly one value"},
		{"two tokens", func(g *rig, r *http.Request) { r.Header.Add("access-token", g.token[src]) }, 400, "exactly one value"},
		{"token in header and cookie", func(g *rig, r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "awsiot-tunnel-token", Value: g.token[dst]})
		}, 400, "exactly one value"},
		{"unknown token", func(_ *rig, r *http.Request) { r.Header.Set("access-token", "nope") }, 400, "Invalid access token"},
		{"two client tokens", func(_ *rig, r *http.Request) { r.Header.Add("client-token", clientS) }, 400, "Invalid client token"},
		{"empty client token", func(_ *rig, r *http.Request) { r.Header.Set("client-token", "") }, 400, "Invalid client token"},
		{"malformed client token", func(_ *rig, r *http.Request) { r.Header.Set("client-token", "short") }, 400, "Invalid client token"},
		{"more than 4 KiB", func(_ *rig, r *http.Request) { r.Header.Set("X-Padding", strings.Repeat("x", 3300)) }, 400, "at most 4096 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			res, body := g.request(tt.edit)
			if res.status != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%d %q, want %d and %q", res.status, body, tt.status, tt.body)
			}
			if len(res.header.Values("channel-id")) != 1 {
				t.Errorf("channel-id %q", res.header.Values("channel-id"))
			}
			g.join(dst, "3.0") // the refusal has not spent the token
		})
	}
}

// request makes a good handshake of the destination, lets edit spoil it, and returns the answer.
func (g *rig) request(edit func(*rig, *http.Request)) (*answer, string) {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://relay/tunnel?local-proxy-mode=destination", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	for k, v := range map[string]string{
		"access-token": g.token[dst], "client-token": clientD, "Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": subprotocolPrefix + "3.0",
	} {
		req.Header.Set(k, v)
	}
	edit(g, req)
	tr := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return g.dial(ctx) },
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	a := &answer{res.StatusCode, res.Header}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return a, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return a, string(body)
}

func TestRequestJustUnder4KiBPasses(t *testing.T) {
	g := newRig(t)
	size := 0
	pad := func(n int) func(*rig, *http.Request) {
		return func(_ *rig, r *http.Request) {
			// What the transport sends beside: Host and User-Agent.
			size = len("GET  HTTP/1.1\r\n") + len(r.URL.RequestURI()) + len("Host: relay\r\n") + len("User-Agent: Go-http-client/1.1\r\n") + 2
			for k, v := range r.Header {
				size += len(k) + 4 + len(v[0])
			}
			r.Header.Set("X-Pad", strings.Repeat("x", n-size-len("X-Pad: \r\n")))
		}
	}
	if res, body := g.request(pad(4097)); res.status != 400 {
		t.Errorf("4,097 bytes: %d %s", res.status, body)
	}
	if res, body := g.request(pad(4096)); res.status != http.StatusSwitchingProtocols {
		t.Errorf("4,096 bytes: %d %s", res.status, body)
	}
}

func TestTokenInACookiePasses(t *testing.T) {
	g := newRig(t)
	res, body := g.request(func(g *rig, r *http.Request) {
		r.Header.Del("access-token")
		r.AddCookie(&http.Cookie{Name: "awsiot-tunnel-token", Value: g.token[dst]})
	})
	if res.status != http.StatusSwitchingProtocols {
		t.Errorf("%d %s", res.status, body)
	}
}

func TestRefusalsOfTheStoreAreShownAsConfigured(t *testing.T) {
	g := newRig(t, func(c *rigConfig) {
		c.behaviour = tunnels.Behaviour{RefusalStatus: 410, RefusalReasonHeader: true, RefusalWithoutBody: true}
	})
	if err := g.store.Close(g.id, false); err != nil {
		t.Fatal(err)
	}
	res, body := g.request(func(*rig, *http.Request) {})
	got := []any{res.status, res.header.Get("X-Status-Reason"), body}
	if d := cmp.Diff([]any{410, "Tunnel is closed", ""}, got); d != "" {
		t.Error(d)
	}
}

func TestSubprotocolChoice(t *testing.T) {
	tests := []struct {
		name   string
		speaks []string
		offers []string
		want   string
	}{
		{"the best of those offered", nil, []string{"1.0", "2.0", "3.0"}, "3.0"},
		{"an older peer", nil, []string{"1.0"}, "1.0"},
		{"an older service", []string{subprotocolPrefix + "2.0"}, []string{"3.0", "2.0", "1.0"}, "2.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, with(func(c *Config) { c.Subprotocols = tt.speaks }))
			var offers []string
			for _, o := range tt.offers {
				offers = append(offers, subprotocolPrefix+o)
			}
			res, _ := g.request(func(_ *rig, r *http.Request) {
				r.Header.Set("Sec-WebSocket-Protocol", strings.Join(offers, ", "))
			})
			if got := res.header.Get("Sec-WebSocket-Protocol"); got != subprotocolPrefix+tt.want {
				t.Errorf("chose %q", got)
			}
			if res.header.Get("channel-id") == "" {
				t.Error("no channel-id on success")
			}
		})
	}
}

func TestServiceIDsComeFirst(t *testing.T) {
	for _, tt := range []struct {
		name, subprotocol string
		services          []string
	}{
		{"V3", "3.0", []string{"SSH", "HTTP", "VNC"}},
		{"V2", "2.0", []string{"SSH"}},
		{"a tunnel without services", "3.0", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, withServices(tt.services...))
			want := frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: tt.services}
			g.connect(dst, tt.subprotocol).expect(want)
			g.connect(src, tt.subprotocol).expect(want)
			g.connect(dst, tt.subprotocol).expect(want) // again, after the reconnect
		})
	}
	t.Run("never in V1", func(t *testing.T) {
		g := newRig(t)
		d := g.connect(dst, "1.0") // no message says that it is there
		s := g.connect(src, "1.0")
		s.send(start("", 1, 0))
		d.expect(start("", 1, 0))
		d.send(data("", 1, 0, "x"))
		s.expect(data("", 1, 0, "x"))
	})
}

func TestASecondConnectionOfAPairReplacesTheFirst(t *testing.T) {
	g := newRig(t)
	first := g.join(dst, "3.0")
	second := g.join(dst, "3.0")
	first.ended(websocket.ClosePolicyViolation)
	s := g.join(src, "3.0")
	s.send(start("SSH", 1, 1))
	second.expect(start("SSH", 1, 1))
}
