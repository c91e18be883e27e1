package agent

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/test/capture"
)

// The bubble's clock runs half a year ahead of the truth, in which the servers' certificates live.
func TestAClockThatRanAheadLeavesNoStamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		truth := func() time.Time { return time.Now().Add(-180 * 24 * time.Hour) }
		built := truth().Add(-100 * 24 * time.Hour)
		stamp := func() time.Time { return floorOf(dir, built).floor }
		floor := floorOf(dir, built)
		floor.raise()
		if !stamp().Equal(built) {
			t.Errorf("nothing is proven but the build of %v, and the stamp is of %v", built, stamp())
		}
		from := truth().Add(-30 * 24 * time.Hour)
		time.Sleep(clockRest)
		floor.seen(from)
		floor.raise()
		if !stamp().Equal(from) {
			t.Errorf("a certificate is valid from %v, and the stamp is of %v", from, stamp())
		}
		for range 10 {
			time.Sleep(clockEvery)
			floor.raise()
		}
		if got, want := stamp(), from.Add(10*clockEvery); !got.Equal(want) {
			t.Errorf("10 days later the stamp is of %v, want %v", got, want)
		}
		if now := floor.now(); !now.Equal(time.Now()) {
			t.Errorf("now is %v", now)
		}
		// A server renews its certificate, and the device is switched off soon after.
		from = truth()
		floor.seen(from)
		floor.raise()
		if !stamp().Equal(from) {
			t.Errorf("after the renewal at %v the stamp is of %v: the device would not connect again", from, stamp())
		}
		// A proxy makes a certificate for each connection: flash wears.
		time.Sleep(time.Minute)
		floor.seen(truth())
		floor.raise()
		if !stamp().Equal(from) {
			t.Errorf("a minute later it is written again")
		}
	})
}

func TestACertificateMovesNoFloorAboveTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		built := time.Now().Add(-time.Hour)
		floor := floorOf(dir, built)
		floor.seen(time.Now().Add(1000 * time.Hour))
		floor.raise()
		if got := floorOf(dir, built).floor; got.After(time.Now()) {
			t.Errorf("the stamp is of %v, and the clock says %v", got, time.Now())
		}
	})
}

// A version before took the clock's word, and the clock was wrong.
func TestAStampThatIsAheadIsNamedWhereItKeepsTLSFromWorking(t *testing.T) {
	const day = 24 * time.Hour
	cfg := testConfig(t, "", "SSH = 22\n")
	file := filepath.Join(cfg.Tunnel.StateDir, clockName)
	if err := os.MkdirAll(cfg.Tunnel.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, file, strconv.AppendInt(nil, time.Now().Add(180*day+time.Hour).Unix(), 10))
	var logs capture.Buffer
	a := New(cfg, Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	a.warnClock()
	if got := logs.String(); !strings.Contains(got, file) || !strings.Contains(got, "level=WARN") {
		t.Errorf("the log does not name %s: %s", file, got)
	}
	if s := a.Status().Clock; s == nil || s.File != file || !strings.Contains(s.Error, "180 days ahead") || !strings.Contains(s.Hint, "remove "+file) {
		t.Errorf("status: %+v", s)
	}

	host := netip.MustParseAddr("127.0.0.1")
	from := time.Now().Add(-30 * day).Truncate(time.Second)
	pair, pool := serverCertificate(t, host, from, time.Now().Add(90*day))
	address := serveAt(t, host, func(c net.Conn) { _ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake() })
	dial := func(c *clockFloor) error {
		tlsdial.SetExplain(c.explain)
		config, err := c.watch(&tls.Config{Time: c.now, RootCAs: pool, ServerName: host.String(), MinVersion: tls.VersionTLS12}, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tlsdial.Dial(t.Context(), address, config, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		})
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	t.Cleanup(func() { tlsdial.SetExplain(func(err error) error { return err }) })
	if err := dial(a.clock); err == nil || !strings.Contains(hint.Line(err), "remove "+file+" and restart culvertd") {
		t.Errorf("the stamp is not to blame: %v", err)
	}
	// The remedy helps, and what is learned then is right.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	again := floorOf(cfg.Tunnel.StateDir, from.Add(-time.Hour))
	if err := dial(again); err != nil {
		t.Fatal(err)
	}
	again.raise()
	if got := floorOf(cfg.Tunnel.StateDir, time.Time{}).floor; got.Before(from) || got.After(from.Add(time.Minute)) {
		t.Errorf("the stamp is of %v, and the certificate is valid from %v", got, from)
	}
}

func TestOnlyAStampThatIsFarAheadOfAPlausibleClockIsBlamed(t *testing.T) {
	for name, c := range map[string]struct {
		built, stamp time.Duration // from now
		want         bool
	}{
		"an hour":                     {-time.Hour, time.Hour, false},
		"two days":                    {-time.Hour, 48 * time.Hour, true},
		"a clock that starts in 1970": {20 * 365 * 24 * time.Hour, 21 * 365 * 24 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Unix(clockFirst, 0).Add(1000 * time.Hour)))
				dir := t.TempDir()
				write(t, filepath.Join(dir, clockName), strconv.AppendInt(nil, time.Now().Add(c.stamp).Unix(), 10))
				if err := floorOf(dir, time.Now().Add(c.built)).trouble(); (err != nil) != c.want {
					t.Error(err)
				}
			})
		})
	}
}

func TestTheCertificatesOfBothServersCount(t *testing.T) {
	host := netip.MustParseAddr("127.0.0.1")
	from := time.Now().Add(-time.Hour).Truncate(time.Second)
	pair, _ := serverCertificate(t, host, from, time.Now().Add(time.Hour))
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	for name, lead := range map[string]func(*config.Config, string){
		"broker": func(cfg *config.Config, address string) {
			port, _ := strconv.Atoi(address[strings.LastIndex(address, ":")+1:])
			cfg.MQTT.Broker.Endpoint, cfg.MQTT.Broker.Port = host.String(), port
		},
		"data endpoint": func(cfg *config.Config, address string) { cfg.Tunnel.Endpoint = "wss://" + address },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, "ws://127.0.0.1:1", "SSH = 22\n")
			cert, key, _ := certificate(t, "pi-42")
			write(t, cfg.MQTT.CertFile, cert)
			write(t, cfg.MQTT.KeyFile, key)
			cfg.MQTT.CAFile = filepath.Join(filepath.Dir(cfg.Path), "root.pem")
			cfg.Tunnel.CAFile = cfg.MQTT.CAFile
			write(t, cfg.MQTT.CAFile, root)
			spoken := make(chan struct{}, 100)
			lead(cfg, serveAt(t, host, func(c net.Conn) {
				if n, _ := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}}).Read(make([]byte, 1)); n > 0 {
					spoken <- struct{}{} // the client has verified the certificate
				}
			}))
			d := start(t, cfg)
			n, err := notify.Decode(fmt.Appendf(nil, notification, ""))
			if err != nil {
				t.Fatal(err)
			}
			d.agent.accept(n)
			select {
			case <-spoken:
			case <-time.After(20 * time.Second):
				t.Fatalf("no connection:\n%s", d.logs)
			}
			d.agent.clock.mu.Lock()
			defer d.agent.clock.mu.Unlock()
			if got := d.agent.clock.passed(); got.Before(from) {
				t.Errorf("%v is proven, want %v", got, from)
			}
		})
	}
}

// A check by root must see what the daemon sees, whose user owns the directory.
func TestRootReadsTheStampOfTheDaemonsUser(t *testing.T) {
	const user, stranger = 12345, 12346
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's file")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, clockName)
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	write(t, file, strconv.AppendInt(nil, at.Unix(), 10))
	for owner, want := range map[int]bool{user: true, stranger: false} {
		if err := errors.Join(os.Lchown(dir, user, user), os.Lchown(file, owner, owner)); err != nil {
			t.Fatal(err)
		}
		if got := floorOf(dir, time.Time{}).floor.Equal(at); got != want {
			t.Errorf("the stamp of user %d in the directory of user %d counts: %v, want %v", owner, user, got, want)
		}
	}
}
