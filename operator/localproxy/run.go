package localproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
)

// maxAge is the longest life of a tunnel (AWS IoT API reference, maxLifetimeTimeoutMinutes: 720).
const maxAge = 12 * time.Hour

// tunnel is one websocket's life. proxy.Source and proxy.Destination are.
type tunnel interface {
	Run(ctx context.Context) error
}

// side holds the differences between a source and a destination.
type side interface {
	// tunnel makes the next websocket.
	tunnel(c proxy.Connection, onOpen func(channelID, subprotocol string)) tunnel
	// lost is called when it has ended. It reports whether connections wait for the next one.
	lost() (awaited bool)
	// close ends what is left and waits for it.
	close()
}

// Run is one side of the tunnel until it is closed or ctx ends, both of which return nil. It returns
// *RejectedError when the service rejected the token, and others when it cannot listen or connect. After a lost
// connection it reconnects: for that it makes a client token where Config has none. Log lines go to w.
func Run(ctx context.Context, cfg *Config, w io.Writer) error {
	j := &journal{level: cfg.Verbose, w: w}
	for _, text := range cfg.Warnings {
		j.printf(levelWarning, "%s", text)
	}
	err := run(ctx, cfg, j)
	switch {
	case errors.Is(err, errClosed):
		j.printf(levelInfo, "%v", err)
		return nil
	case err == nil:
		j.printf(levelInfo, "stopped")
	}
	return err
}

func run(ctx context.Context, cfg *Config, j *journal) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxAge, errClosed)
	defer cancel()
	s, err := newSide(cfg, j)
	if err != nil {
		return err
	}
	defer s.close()
	client := cfg.ClientToken
	if client.IsZero() {
		client = secret.NewClientToken()
	}
	host := hostOf(cfg.Endpoint)
	p := policy{retries: cfg.Settings.ConnectRetries, reconnect: cfg.Settings.ReconnectOnErrors}
	advised := false
	for {
		j.printf(levelInfo, "Connecting to %s as the %s, with token %s", cfg.Endpoint, cfg.Mode, cfg.AccessToken.ID())
		var opened time.Time
		t := s.tunnel(proxy.Connection{
			Endpoint: cfg.Endpoint, AccessToken: cfg.AccessToken, ClientToken: client,
			TLS: cfg.TLS, NetDial: cfg.NetDial, PingInterval: cfg.Settings.PingInterval,
		}, func(channelID, subprotocol string) {
			opened = time.Now()
			j.printf(levelInfo, "Web socket session: channel-id %s, subprotocol %s", channelID, subprotocol)
			j.printf(levelInfo, "Successfully established websocket connection with proxy server: %s", host)
		})
		err := t.Run(ctx)
		p.Awaited = s.lost()
		if ctx.Err() != nil {
			return asked(ctx)
		}
		var stood time.Duration
		if !opened.IsZero() {
			stood = max(time.Since(opened), 1)
		}
		delay, end := p.next(err, stood)
		if end != nil {
			return end
		}
		j.printf(levelWarning, "%v; next attempt in %v", err, delay.Round(time.Millisecond))
		if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound && !advised {
			advised = true
			j.printf(levelWarning, "There is no host %s: check -r or -e, and this machine's DNS", e.Name)
		}
		if backoff.Sleep(ctx, delay) != nil {
			return asked(ctx)
		}
	}
}

// asked returns what the end of ctx means: a request to stop, or that the tunnel is too old.
func asked(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errClosed) {
		return fmt.Errorf("%w: %v have passed, the longest life of a tunnel", errClosed, maxAge)
	}
	return nil
}

func newSide(cfg *Config, j *journal) (side, error) {
	if cfg.Mode == Destination {
		return newDestination(cfg, j), nil
	}
	return newSource(cfg, j)
}

// hostOf is the endpoint without path and query, as scripts know it from log lines.
func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return u.Scheme + "://" + u.Host
}
