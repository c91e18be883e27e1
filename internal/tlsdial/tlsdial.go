package tlsdial

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
)

const (
	// patience is how long a server may take to send its first byte before the small ClientHello is
	// tried. It covers two retransmissions of a lost packet and a slow satellite link.
	patience = 10 * time.Second

	// refusal is the time within which a server that wants no connection ends it. One that ends it later without a byte has
	// waited for a ClientHello: servers give up, too, and some do before patience is over.
	refusal = time.Second

	// remembered is how long a host gets the small ClientHello at once. Networks get repaired, and
	// devices move.
	remembered = 24 * time.Hour

	// maxHosts bounds the memory.
	maxHosts = 64
)

// classic are the key exchanges with small shares, Go's defaults without the post-quantum ones.
var classic = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

var errSilent = errors.New("no answer to the TLS ClientHello")

var (
	mu     sync.Mutex
	hosts  = map[string]time.Time{} // that need the small ClientHello, and when that showed
	logger atomic.Pointer[slog.Logger]
	more   atomic.Pointer[func(error) error]
)

// SetExplain makes f say more about each failed handshake of this process: it returns the error, or one that wraps it.
// A time that is not the clock's may be why a certificate has expired, and only who set tls.Config.Time knows that.
func SetExplain(f func(error) error) { more.Store(&f) }

// WithExplain is SetExplain for the handshakes of one context, which f alone explains.
func WithExplain(ctx context.Context, f func(error) error) context.Context {
	return context.WithValue(ctx, explainKey{}, f)
}

type explainKey struct{}

// Explain returns what the function given to WithExplain, or else to SetExplain, makes of a handshake's error.
func Explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := ctx.Value(explainKey{}).(func(error) error); ok {
		return f(err)
	}
	if f := more.Load(); f != nil {
		return (*f)(err)
	}
	return err
}

// SetLogger makes l tell of each host that turns out to need the small ClientHello. Without it
// nothing is logged.
func SetLogger(l *slog.Logger) { logger.Store(l) }

// NeedsSmallHello reports whether the last handshake with address got through only without the
// post-quantum key exchange.
func NeedsSmallHello(address string) bool {
	mu.Lock()
	defer mu.Unlock()
	at, ok := hosts[address]
	return ok && time.Since(at) < remembered
}

func remember(address string, small bool) {
	mu.Lock()
	defer mu.Unlock()
	if !small {
		delete(hosts, address)
		return
	}
	if len(hosts) >= maxHosts {
		clear(hosts)
	}
	if _, known := hosts[address]; !known {
		hosts[address] = time.Now()
	}
}

// Dial opens a connection with dial and does the client's side of a TLS handshake on it. address
// (host:port) is only the name that the outcome is remembered by; config must have a ServerName.
//
// When the server sends nothing for 10 s, or for half of the time that ctx leaves, or ends the connection
// after a second without a byte, Dial opens a second connection and repeats the handshake without
// post-quantum key exchange, unless config names its own key exchanges or does not allow TLS 1.3. A
// failed dial is a [*DialError].
func Dial(ctx context.Context, address string, config *tls.Config, dial func(context.Context) (net.Conn, error)) (*tls.Conn, error) {
	if len(config.CurvePreferences) > 0 || config.MaxVersion != 0 && config.MaxVersion < tls.VersionTLS13 {
		return handshake(ctx, config, dial, 0)
	}
	small := config.Clone()
	small.CurvePreferences = classic
	if NeedsSmallHello(address) {
		conn, err := handshake(ctx, small, dial, 0)
		if _, dialed := errors.AsType[*DialError](err); err != nil && !dialed {
			remember(address, false) // the next attempt starts over
		}
		return conn, err
	}
	wait := patience
	if until, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(until)/2)
	}
	conn, err := handshake(ctx, config, dial, wait)
	if !errors.Is(err, errSilent) {
		return conn, err
	}
	conn, again := handshake(ctx, small, dial, 0)
	if again != nil {
		if _, dialed := errors.AsType[*DialError](again); dialed {
			return nil, err
		}
		return nil, again
	}
	remember(address, true)
	if l := logger.Load(); l != nil {
		l.Warn("the network drops large TLS packets, connected without post-quantum key exchange", "endpoint", address)
	}
	return conn, nil
}

// A DialError says that there was no connection to do a handshake on.
type DialError struct{ Err error }

func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns what the dial function reported.
func (e *DialError) Unwrap() error { return e.Err }

// handshake fails with errSilent when the server sends nothing within wait, or gives up waiting; with 0 it does not.
func handshake(ctx context.Context, config *tls.Config, dial func(context.Context) (net.Conn, error), wait time.Duration) (*tls.Conn, error) {
	raw, err := dial(ctx)
	if err != nil {
		return nil, &DialError{err}
	}
	conn, began := &watched{Conn: raw}, time.Now()
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if wait > 0 {
		timer := time.AfterFunc(wait, func() {
			if !conn.heard.Load() {
				cancel(silence{})
			}
		})
		defer timer.Stop()
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(limited); err != nil {
		_ = raw.Close()
		gaveUp := wait > 0 && !conn.heard.Load() && time.Since(began) >= refusal && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET))
		if cause := context.Cause(limited); errors.Is(cause, errSilent) {
			err = cause
		}
		err = Explain(ctx, clean.Error(err)) // it may quote the names of any certificate
		if gaveUp {                          // by the server, not by this side, whose network may have changed
			err = ended{err}
		}
		return nil, err
	}
	return secured, nil
}

// ended is the end of a connection on which the server has waited for the ClientHello in vain.
type ended struct{ error }

func (e ended) Unwrap() error      { return e.error }
func (ended) Is(target error) bool { return target == errSilent }

// silence is errSilent as a time-out of the network.
type silence struct{}

func (silence) Error() string { return errSilent.Error() }
func (silence) Is(target error) bool {
	return target == errSilent || target == context.DeadlineExceeded
}
func (silence) Timeout() bool   { return true }
func (silence) Temporary() bool { return true }

// watched knows whether the other side has sent anything.
type watched struct {
	net.Conn
	heard atomic.Bool
}

// Read notes the first byte.
func (c *watched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	return n, err
}
