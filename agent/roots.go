package agent

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/tpmkey"
	"github.com/culvert-iot/culvert/internal/hint"
)

// BrokerTLS reads the device's certificate, its key and the broker's roots. It is called at each attempt to
// connect, so that certificates which were rotated, or put there after the start, count at once. Its errors
// name the file and carry a hint.
//
// Certificates are judged by now; nil is the clock.
func BrokerTLS(cfg *config.Config, now func() time.Time) (*tls.Config, error) {
	c := &tls.Config{Time: now, MinVersion: tls.VersionTLS12, NextProtos: cfg.MQTT.ALPN()}
	if err := identify(cfg, c); err != nil {
		return nil, explain(cfg, err)
	}
	if cfg.MQTT.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(cfg.MQTT.CAFile)
	if err != nil {
		return nil, explain(cfg, err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, explain(cfg, fmt.Errorf("mqtt.ca_file: %s has no certificate", cfg.MQTT.CAFile))
	}
	return c, nil
}

// identify puts the device's certificate and key into c. A device that says who it is by a user name may have none.
func identify(cfg *config.Config, c *tls.Config) error {
	m := cfg.MQTT
	switch {
	case m.CertFile == "":
		return nil
	case m.TPMKey.Handle == 0:
		cert, err := tls.LoadX509KeyPair(m.CertFile, m.KeyFile)
		c.Certificates = []tls.Certificate{cert}
		return err
	}
	cert, err := tpmkey.Certificate(m.CertFile, m.TPMKey.Device, m.TPMKey.Handle)
	if err != nil {
		return fmt.Errorf("mqtt.key_file: %w", err)
	}
	c.Certificates = []tls.Certificate{cert}
	if !tpmkey.TLS13(cert) {
		c.MaxVersion = tls.VersionTLS12
	}
	return nil
}

// Login reads the user name and the password at each attempt to connect, as BrokerTLS does with the certificate. It is nil
// where there is none.
func Login(cfg *config.Config) func() (string, string, error) {
	if !cfg.MQTT.ByName() {
		return nil
	}
	return cfg.MQTT.Login
}

// explain prefers the words of the configuration's own check to those of package tls.
func explain(cfg *config.Config, err error) error {
	if errors.Is(err, syscall.EMFILE) {
		return err // not the files' fault
	}
	if clear := cfg.CheckFiles(); clear != nil {
		problems := []error{clear}
		if joined, ok := clear.(interface{ Unwrap() []error }); ok {
			problems = joined.Unwrap()
		}
		if len(problems) == 1 {
			return problems[0]
		}
		lines := make([]string, len(problems))
		for i, p := range problems {
			lines[i] = hint.Line(p)
		}
		return errors.New(strings.Join(lines, "; "))
	}
	return err
}

// tunnelRoots makes the TLS configuration of tunnels: the system's roots and those of tunnel.ca_file, which
// is read at each handshake. A file that can't be read is warned about, and what it held before stays.
type tunnelRoots struct {
	file string
	now  func() time.Time // certificates are judged by; nil is the clock
	log  *slog.Logger

	mu     sync.Mutex
	pem    []byte
	pool   *x509.CertPool
	warned string
}

func (r *tunnelRoots) config() *tls.Config {
	c := &tls.Config{Time: r.now, MinVersion: tls.VersionTLS12}
	if r.file == "" {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.read()
	text := ""
	if err != nil {
		text = hint.Line(err)
	}
	if text != r.warned && err != nil {
		r.log.Warn("roots of tunnels cannot be read, others are used", "error", text)
	}
	r.warned = text
	c.RootCAs = r.pool
	return c
}

func (r *tunnelRoots) read() error {
	pem, err := os.ReadFile(r.file)
	if err != nil {
		return hint.Wrap(fmt.Errorf("tunnel.ca_file: %w", err), "put the file there, or correct the path")
	}
	if bytes.Equal(pem, r.pem) {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // an image without a CA bundle
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tunnel.ca_file: %s has no certificate in PEM form", r.file)
	}
	r.pem, r.pool = pem, pool
	return nil
}

// Clock is what the daemon judges certificates by.
type Clock struct {
	Now     func() time.Time  // the clock's time, unless that is certainly too early
	Explain func(error) error // adds to the error of a TLS handshake that the stamp of the time is the cause
	Trouble func() error      // with the stamp; nil: none
}

// ReadClock is the clock by the stamp of the time that there is now, for a check before the daemon runs. It is there in
// a second: read, [ReadStamp] but in tests, may take longer.
func ReadClock(cfg *config.Config, read func(path string) ([]byte, error)) Clock {
	c := newClockFloor(cfg.Tunnel.StateDir, built(), read, slog.New(slog.DiscardHandler))
	return Clock{Now: c.now, Explain: c.explain, Trouble: c.trouble}
}

// TunnelTLS is what the daemon would connect tunnels with, read now. An error about tunnel.ca_file comes beside
// the configuration that the daemon would go on with. Certificates are judged by now.
func TunnelTLS(cfg *config.Config, now func() time.Time) (*tls.Config, error) {
	r := &tunnelRoots{file: cfg.Tunnel.CAFile, now: now, log: slog.New(slog.DiscardHandler)}
	if r.file == "" {
		return r.config(), nil
	}
	err := r.read()
	return r.config(), err
}
