package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// The subprotocols of AWS IoT Secure Tunneling, as the WebSocket protocol guides name them.
const (
	SubprotocolV1 = "aws.iot.securetunneling-1.0"
	SubprotocolV2 = "aws.iot.securetunneling-2.0"
	SubprotocolV3 = "aws.iot.securetunneling-3.0"
)

// MaxMessage is the largest payload of a websocket frame, in bytes, in either direction (WebSocket
// protocol guide). Each message that is sent is one frame.
const MaxMessage = 131_076

// Defaults of the durations in Config.
const (
	DefaultHandshakeTimeout = 30 * time.Second
	// DefaultPingInterval is the guide's: the service drops connections that are idle for 60 s.
	DefaultPingInterval = 20 * time.Second
	DefaultPongTimeout  = 20 * time.Second
	// DefaultWriteTimeout suffices for one full message at 4.4 kB/s.
	DefaultWriteTimeout = 30 * time.Second
)

// A Secret must never be shown. Only the handshake reveals it.
type Secret interface{ Reveal() string }

// Config says where to connect and as whom. Endpoint, Mode and AccessToken are required.
type Config struct {
	// Endpoint is wss://host[:port], or ws:// for tests. The path /tunnel is added unless one is given.
	Endpoint string
	// Mode is "source" or "destination". The access token must be of the same side.
	Mode string
	// AccessToken opens the tunnel. Without a client token, the first handshake spends it.
	AccessToken Secret
	// ClientToken lets the same pair of tokens connect again. It is optional.
	ClientToken Secret
	// Subprotocols are offered in this order; nil offers V3, V2 and V1.
	Subprotocols []string
	// TLS is cloned; nil means the system's roots. Its NextProtos are dropped: a list meant for
	// MQTT would make the service refuse the handshake.
	TLS *tls.Config
	// NetDial opens the TCP connection and respects its context; nil means a plain net.Dialer. It may
	// be called twice, see package tlsdial.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)

	HandshakeTimeout time.Duration // from the first packet to the service's answer; 0 means 30 s
	PingInterval     time.Duration // between two pings; 0 means 20 s
	PongTimeout      time.Duration // how late a pong may be after RequirePong; 0 means 20 s
	WriteTimeout     time.Duration // for the network to accept one message; 0 means 30 s
}

func (c Config) withDefaults() Config {
	orDefault := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	orDefault(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	orDefault(&c.PingInterval, DefaultPingInterval)
	orDefault(&c.PongTimeout, DefaultPongTimeout)
	orDefault(&c.WriteTimeout, DefaultWriteTimeout)
	if c.Subprotocols == nil {
		c.Subprotocols = []string{SubprotocolV3, SubprotocolV2, SubprotocolV1}
	}
	if c.NetDial == nil {
		c.NetDial = new(net.Dialer).DialContext
	}
	return c
}

// CheckEndpoint returns an error if Endpoint is malformed.
func (c Config) CheckEndpoint() error {
	c.Mode = "source"
	_, err := c.url()
	return err
}

// url returns the request's URL: endpoint, path and mode.
func (c Config) url() (*url.URL, error) {
	if c.Mode != "source" && c.Mode != "destination" {
		return nil, fmt.Errorf("mode %q: must be source or destination", c.Mode)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		// The parser's error quotes the URL, which may hold a password.
		return nil, errors.New("tunnel endpoint is not a URL: write wss://host or wss://host:port")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("tunnel endpoint carries a user name: write wss://host or wss://host:port")
	case u.Scheme != "wss" && u.Scheme != "ws", u.Hostname() == "":
		return nil, fmt.Errorf("tunnel endpoint %q: write wss://host or wss://host:port", c.Endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/tunnel"
	}
	u.Fragment = ""
	query := u.Query()
	query.Set("local-proxy-mode", c.Mode)
	u.RawQuery = query.Encode()
	return u, nil
}

// header returns the headers with the tokens, named in lower case as in the guide.
func (c Config) header() (map[string][]string, error) {
	access, client := reveal(c.AccessToken), reveal(c.ClientToken)
	if access == "" {
		return nil, errors.New("no access token")
	}
	h := map[string][]string{
		"User-Agent":   {"culvert"},
		"access-token": {access},
	}
	if client != "" {
		h["client-token"] = []string{client}
	}
	for name, token := range map[string]string{"access token": access, "client token": client} {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("the %s has spaces, line ends or other characters that tokens never have: copy it again", name)
		}
	}
	return h, nil
}

func reveal(s Secret) string {
	if s == nil {
		return ""
	}
	return s.Reveal()
}
