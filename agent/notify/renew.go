package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// verdictLimit is how long a broker may take to refuse a certificate after the handshake: in TLS 1.3 a client is
// done before its certificate was judged (RFC 8446, section 4.4.2.4).
const verdictLimit = 2 * time.Second

// errRenewed ends a connection whose successor with new certificate files has its TLS already.
var errRenewed = errors.New("certificate files have changed")

// Renew looks at the certificate files again. A wait for the next attempt ends. A connection that was made with
// other files gives way to one with the new ones, but not before TLS with them has worked: until then it stays,
// and what is wrong with them is logged. It returns at once.
func (c *Client) Renew() {
	select {
	case c.renew <- struct{}{}:
	default:
	}
}

// wait sleeps for delay, or until Renew is called, but not before earliest.
func (c *Client) wait(ctx context.Context, delay time.Duration, earliest time.Time) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.renew:
		return backoff.Sleep(ctx, time.Until(earliest))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// trial is what came of new certificate files: a connection, nothing because they are the old ones, or an error.
type trial struct {
	conn   net.Conn
	config *tls.Config
	err    error
}

// close ends a connection that will not be used, if there is one.
func (t *trial) close() {
	if t != nil && t.conn != nil {
		_ = t.conn.Close()
	}
}

// tryFiles makes a TLS connection with the files as they are now, unless they are as they were for old.
func (c *Client) tryFiles(ctx context.Context, old *tls.Config) *trial {
	config, err := c.tlsConfig()
	if err != nil {
		return &trial{err: c.doctor.explain(end{stage: stageFiles, err: err})}
	}
	if config == nil || sameFiles(old, config) {
		return &trial{}
	}
	conn, s, err := c.open(ctx, config)
	if err == nil {
		if err = verdict(ctx, conn); err == nil {
			return &trial{conn: conn, config: config}
		}
		_ = conn.Close()
	}
	return &trial{err: c.doctor.explain(end{stage: s, err: err, tls: config})}
}

// verdict waits for the broker to refuse the certificate. It says nothing if it takes it.
func verdict(ctx context.Context, conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(verdictLimit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	_, err := conn.Read(make([]byte, 1))
	switch {
	case !stop():
		return context.Cause(ctx)
	case err == nil:
		return &protocolError{"it speaks first"}
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	return conn.SetReadDeadline(time.Time{})
}

func sameFiles(a, b *tls.Config) bool {
	if a == nil || len(a.Certificates) != len(b.Certificates) || (a.RootCAs == nil) != (b.RootCAs == nil) {
		return false
	}
	for i := range a.Certificates {
		chain := a.Certificates[i].Certificate
		if len(chain) != len(b.Certificates[i].Certificate) {
			return false
		}
		for k := range chain {
			if !bytes.Equal(chain[k], b.Certificates[i].Certificate[k]) {
				return false
			}
		}
	}
	return a.RootCAs == nil || a.RootCAs.Equal(b.RootCAs)
}
