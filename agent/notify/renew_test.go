package notify

import (
	"crypto/tls"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

func TestRenewEndsTheWaitForTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{random: func() float64 { return 0.999 }}, func(_ int, p *peer) { p.connack(5, false) }, nil)
		for len(b.gaps()) < 10 {
			pass(time.Second)
		}
		pass(5 * time.Second) // of the minute that it waits by now
		before := len(b.gaps())
		b.client.Renew()
		pass(2 * time.Second)
		if n := len(b.gaps()) - before; n != 1 {
			t.Errorf("%d attempts within 2 s of the request, want 1", n)
		}
	})
}

func TestNewCertificateFilesReplaceTheConnectionOnceTheyWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newIssuer(t)
		var (
			now  = ca.leaf(2, testThing, -day, year)
			bad  error
			seen []int64
		)
		b := startTLS(t, 8883, func() (*tls.Config, error) {
			return &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{now}}, bad
		}, &tls.Config{
			Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -day, year)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
		}, func(_ int, p *peer, state tls.ConnectionState) {
			seen = append(seen, state.PeerCertificates[0].SerialNumber.Int64())
			p.accept()
			p.idle()
		})
		pass(time.Minute)
		for _, step := range []struct {
			name   string
			change func()
			seen   []int64
			warns  string // of a connection that stays
		}{
			{"the same files", func() {}, []int64{2}, ""},
			{"files that cannot be read", func() { bad = hint.New("it is UTF-16", "convert it") }, []int64{2}, "cannot use the certificate files: it is UTF-16; convert it"},
			{"an expired certificate", func() { bad, now = nil, ca.leaf(3, testThing, -year, day) }, []int64{2}, "expired on"},
			{"a good certificate", func() { now = ca.leaf(4, testThing, -day, year) }, []int64{2, 4}, ""},
			{"the same once more", func() {}, []int64{2, 4}, ""},
		} {
			step.change()
			since := b.client.State().Since
			b.client.Renew()
			pass(10 * time.Second)
			if !slices.Equal(seen, step.seen) {
				t.Errorf("%s: certificates %v were shown, want %v", step.name, seen, step.seen)
			}
			s := b.client.State()
			if !s.Subscribed || step.warns != "" && s.Since != since {
				t.Errorf("%s: %+v", step.name, s)
			}
			if step.warns != "" && len(b.log.lines("level=WARN", "stays as it is", step.warns)) != 1 {
				t.Errorf("%s: not told:\n%s", step.name, b.log.lines("level=WARN"))
			}
		}
		if n := len(b.log.lines("level=WARN")); n != 2 {
			t.Errorf("%d warnings:\n%s", n, b.log.lines("level=WARN"))
		}
	})
}

// The client, or the old connection, ends in the middle of the trial: the trial's connection then has no owner.
func TestTheEndDuringATrialOfNewFilesLeavesNothing(t *testing.T) {
	for name, lost := range map[string]bool{"of the client": false, "of the connection": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newIssuer(t)
				serial := int64(1)
				b := startTLS(t, 8883, func() (*tls.Config, error) {
					serial++
					return &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.leaf(serial, testThing, -day, year)}}, nil
				}, &tls.Config{
					Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -day, year)},
					ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
				}, func(n int, p *peer, _ tls.ConnectionState) {
					if n == 2 { // the trial
						p.idle()
						return
					}
					p.accept()
					if n == 1 && lost {
						p.idleFor(10*time.Second + verdictLimit/2)
						return
					}
					p.idle()
				})
				pass(10 * time.Second)
				b.client.Renew()
				pass(verdictLimit / 4)
				if !lost {
					if d, _ := b.stop(); d > time.Second {
						t.Errorf("the end took %v", d)
					}
					return
				}
				pass(10 * time.Second)
				if s := b.client.State(); !s.Subscribed || serial != 4 {
					t.Errorf("%d configurations were made, %+v", serial-1, s)
				}
			})
		})
	}
}
