package wsconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHandshakeIsTheOneOfTheProtocolGuide(t *testing.T) {
	c, p := open(t, func(cfg *Config) { cfg.Endpoint = "ws://tunnel.example:8443" })
	for _, line := range []string{
		"GET /tunnel?local-proxy-mode=destination HTTP/1.1\r\n",
		"\r\nHost: tunnel.example:8443\r\n",
		"\r\naccess-token: " + accessToken + "\r\n", // in lower case, as the guide has it
		"\r\nclient-token: " + clientToken + "\r\n",
		"\r\nSec-WebSocket-Protocol: aws.iot.securetunneling-3.0, aws.iot.securetunneling-2.0, aws.iot.securetunneling-1.0\r\n",
	} {
		if !strings.Contains(p.head, line) {
			t.Errorf("the request lacks %q:\n%s", line, p.head)
		}
	}
	if strings.Contains(p.head, "Sec-WebSocket-Extensions") {
		t.Errorf("the request offers extensions:\n%s", p.head)
	}
	if got := []string{c.ChannelID(), c.Subprotocol(), c.RemoteAddr()}; !cmp.Equal(got, []string{"channel-1", SubprotocolV3, "pipe"}) {
		t.Errorf("ChannelID, Subprotocol, RemoteAddr = %q", got)
	}
}

func TestHandshakeWithoutClientTokenSendsNone(t *testing.T) {
	_, p := open(t, func(cfg *Config) { cfg.ClientToken = nil })
	if strings.Contains(strings.ToLower(p.head), "client-token") {
		t.Errorf("request:\n%s", p.head)
	}
}

func TestEndpoints(t *testing.T) {
	for _, tt := range []struct{ name, endpoint, mode, want, err string }{
		{"host alone", "wss://h.example", "source", "wss://h.example/tunnel?local-proxy-mode=source", ""},
		{"host and port", "wss://h.example:8443/", "destination", "wss://h.example:8443/tunnel?local-proxy-mode=destination", ""},
		{"own path is kept", "wss://h.example/a/b", "source", "wss://h.example/a/b?local-proxy-mode=source", ""},
		{"own query is kept", "wss://h.example?x=1", "source", "wss://h.example/tunnel?local-proxy-mode=source&x=1", ""},
		{"IPv6", "ws://[::1]:80", "source", "ws://[::1]:80/tunnel?local-proxy-mode=source", ""},
		{"no scheme", "h.example:443", "source", "", "write wss://host"},
		{"http scheme", "https://h.example", "source", "", "write wss://host"},
		{"no host", "wss://:443", "source", "", "write wss://host"},
		{"password is not repeated", "wss://u:hidden@h.example", "source", "", "carries a user name"},
		{"broken password is not repeated", "wss://u:hidden%zz@h.example", "source", "", "not a URL"},
		{"no mode", "wss://h.example", "", "", `mode "": must be source or destination`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := Config{Endpoint: tt.endpoint, Mode: tt.mode}.url()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hidden") {
					t.Fatalf("error = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || u.String() != tt.want {
				t.Errorf("url = %v, %v, want %s", u, err, tt.want)
			}
		})
	}
}

type plain string

func (p plain) Reveal() string { return string(p) }

func TestTokensThatNoHeaderCanCarryAreRefusedUnseen(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no access token":           func(c *Config) { c.AccessToken = nil },
		"empty access token":        func(c *Config) { c.AccessToken = plain("") },
		"access token with newline": func(c *Config) { c.AccessToken = plain("hidden\n") },
		"access token with header":  func(c *Config) { c.AccessToken = plain("hidden\r\nx: y") },
		"client token with space":   func(c *Config) { c.ClientToken = plain("hidden ") },
		"access token beyond ASCII": func(c *Config) { c.AccessToken = plain("hiddené") },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(func(context.Context, string, string) (net.Conn, error) {
				t.Error("dialled all the same")
				return nil, io.EOF
			})
			change(&cfg)
			_, err := Dial(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// answer serves one handshake with a fixed text.
func answer(text string) func(*peer) {
	return func(p *peer) {
		if p.readRequest() == nil {
			_, _ = io.WriteString(p, text)
		}
	}
}

func TestRefusedHandshakes(t *testing.T) {
	const longBody = "The access token was previously used. "
	for _, tt := range []struct {
		name, answer string
		want         HandshakeError
		text         string
	}{
		{
			"spent token, as the service says it",
			"HTTP/1.1 400 Bad Request\r\nchannel-id: c-9\r\nContent-Length: 21\r\n\r\nInvalid access token.",
			HandshakeError{Status: 400, Body: "Invalid access token.", ChannelID: "c-9"},
			"the tunnel service answered 400 Bad Request: Invalid access token. (channel-id c-9)",
		},
		{
			"the service's clock",
			"HTTP/1.1 400 Bad Request\r\nDate: Sat, 01 Jan 2000 00:02:00 GMT\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 400, Date: time.Date(2000, 1, 1, 0, 2, 0, 0, time.UTC)},
			"the tunnel service answered 400 Bad Request",
		},
		{
			"reason in a header, no body",
			"HTTP/1.1 403 Forbidden\r\nX-Status-Reason: Tunnel is closed\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 403, StatusReason: "Tunnel is closed"},
			"the tunnel service answered 403 Forbidden: Tunnel is closed",
		},
		{
			"reason and body and retry in seconds",
			"HTTP/1.1 429 Too Many Requests\r\nX-Status-Reason: slow down\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait",
			HandshakeError{Status: 429, StatusReason: "slow down", Body: "wait", RetryAfter: 7 * time.Second},
			"the tunnel service answered 429 Too Many Requests: slow down: wait (retry after 7s)",
		},
		{
			"retry at a date",
			// A bubble's time starts at midnight UTC on 1 January 2000.
			"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Sat, 01 Jan 2000 00:02:00 GMT\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 503, RetryAfter: 2 * time.Minute},
			"the tunnel service answered 503 Service Unavailable (retry after 2m0s)",
		},
		{
			"retry at a date gone by",
			"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Fri, 31 Dec 1999 23:59:00 GMT\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 503},
			"the tunnel service answered 503 Service Unavailable",
		},
		{
			"retry next year is an hour",
			"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 503, RetryAfter: time.Hour},
			"the tunnel service answered 503 Service Unavailable (retry after 1h0m0s)",
		},
		{
			"retry in a hundred years is an hour",
			"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 4000000000\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 503, RetryAfter: time.Hour},
			"the tunnel service answered 503 Service Unavailable (retry after 1h0m0s)",
		},
		{
			"retry that is neither",
			"HTTP/1.1 503 Service Unavailable\r\nRetry-After: -5 soon\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 503},
			"the tunnel service answered 503 Service Unavailable",
		},
		{
			"redirects are not followed",
			"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere.example/tunnel\r\nContent-Length: 0\r\n\r\n",
			HandshakeError{Status: 302},
			"the tunnel service answered 302 Found",
		},
		{
			"control characters and broken UTF-8 do not reach the log",
			"HTTP/1.1 400 Bad Request\r\nContent-Length: 22\r\n\r\none\n\x1b[2Jtwo\x00\x00 \xff\xfethree",
			HandshakeError{Status: 400, Body: "one [2Jtwo three"},
			"the tunnel service answered 400 Bad Request: one [2Jtwo three",
		},
		{
			"long bodies are cut",
			"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + strings.Repeat(longBody, 100),
			HandshakeError{Status: 400, Body: strings.Repeat(longBody, 100)[:1024]},
			"the tunnel service answered 400 Bad Request: " + strings.Repeat(longBody, 100)[:1024],
		},
		{
			"a web page instead of a websocket",
			"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
			HandshakeError{Status: 200, Body: "<html>"},
			"the tunnel service answered 200 OK: <html>",
		},
		{
			"an upgrade without the right key",
			"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
			HandshakeError{Status: 101},
			"the tunnel service answered 101 Switching Protocols without a valid websocket upgrade",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := Dial(t.Context(), testConfig(pipeDialer(answer(tt.answer))))
				var refused *HandshakeError
				if !errors.As(err, &refused) {
					t.Fatalf("error = %v", err)
				}
				if diff := cmp.Diff(tt.want, *refused); diff != "" {
					t.Error(diff)
				}
				if err.Error() != tt.text {
					t.Errorf("text = %q\nwant   %q", err.Error(), tt.text)
				}
			})
		})
	}
}

func TestARefusalWhoseBodyNeverEndsIsStillARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := Dial(t.Context(), testConfig(pipeDialer(func(p *peer) {
			answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n\r\nTunnel is closed")(p)
			_, _ = io.Copy(io.Discard, p) // until the client gives up
		})))
		var refused *HandshakeError
		if !errors.As(err, &refused) || refused.Status != 400 || refused.Body != "Tunnel is closed" {
			t.Errorf("error = %v", err)
		}
		if d := time.Since(start); d != DefaultHandshakeTimeout {
			t.Errorf("after %v", d)
		}
	})
}

func TestNoErrorRepeatsATokenThatTheServerSentBack(t *testing.T) {
	for name, text := range map[string]string{
		"in the body":            "HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\naccess-token: " + accessToken + " client-token: " + clientToken,
		"cut at the body's end":  "HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n" + strings.Repeat(".", 1000) + accessToken,
		"in the reason":          "HTTP/1.1 400 Bad\r\nX-Status-Reason: " + accessToken + "\r\nContent-Length: 0\r\n\r\n",
		"as channel":             "HTTP/1.1 400 Bad\r\nchannel-id: " + accessToken + "\r\nContent-Length: 0\r\n\r\n",
		"in a broken first line": accessToken + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(t.Context(), testConfig(pipeDialer(answer(text))))
			if err == nil || strings.Contains(err.Error(), accessToken[:8]) || strings.Contains(err.Error(), clientToken[:8]) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestSubprotocolOfTheAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, header string
		offered      []string
		want, err    string
	}{
		{"newest", "Sec-WebSocket-Protocol: " + SubprotocolV3, nil, SubprotocolV3, ""},
		{"oldest", "Sec-WebSocket-Protocol: " + SubprotocolV1, nil, SubprotocolV1, ""},
		{"none named is the oldest", "x: y", nil, SubprotocolV1, ""},
		{"one that was not offered", "Sec-WebSocket-Protocol: " + SubprotocolV3, []string{SubprotocolV2}, "", `chose subprotocol "aws.iot.securetunneling-3.0", which was not offered`},
		{"a foreign one", "Sec-WebSocket-Protocol: mqtt", nil, "", `chose subprotocol "mqtt", which was not offered`},
		{"a list", "Sec-WebSocket-Protocol: " + SubprotocolV3 + ", " + SubprotocolV2, nil, "", "which was not offered"},
		{
			"unrequested compression",
			"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
			nil, "", "chose a websocket extension",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(pipeDialer(func(p *peer) {
				if p.readRequest() == nil {
					_, _ = io.WriteString(p, p.upgrade(tt.header))
					_, _ = io.Copy(io.Discard, p)
				}
			}))
			cfg.Subprotocols = tt.offered
			c, err := Dial(t.Context(), cfg)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close(1000, "") }()
			if c.Subprotocol() != tt.want {
				t.Errorf("Subprotocol = %q, want %q", c.Subprotocol(), tt.want)
			}
		})
	}
}

func TestAnAnswerWithoutEndIsCut(t *testing.T) {
	var sent atomic.Int64
	_, err := Dial(t.Context(), testConfig(pipeDialer(func(p *peer) {
		answer("HTTP/1.1 101 Switching Protocols\r\n")(p)
		for {
			n, err := io.WriteString(p, "x: "+strings.Repeat("y", 1000)+"\r\n")
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})))
	if !errors.Is(err, errLongHandshake) {
		t.Errorf("error = %v", err)
	}
	if n := sent.Load(); n > 40<<10 {
		t.Errorf("%d bytes of header were read", n)
	}
}

func TestAHeaderOf30KiBIsTaken(t *testing.T) {
	open := func(p *peer) error {
		if err := p.readRequest(); err != nil {
			return err
		}
		_, err := io.WriteString(p, p.upgrade("x: "+strings.Repeat("y", 30<<10)))
		return err
	}
	c, err := Dial(t.Context(), testConfig(pipeDialer(func(p *peer) {
		_ = open(p)
		_, _ = io.Copy(io.Discard, p)
	})))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(1000, "")
}

func TestDialErrorsAreKept(t *testing.T) {
	refused := errors.New("connection refused")
	_, err := Dial(t.Context(), testConfig(func(context.Context, string, string) (net.Conn, error) { return nil, refused }))
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "connecting to tunnel.example") {
		t.Errorf("error = %v", err)
	}
}
