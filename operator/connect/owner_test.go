package connect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// A source connection of an unknown time is this side's last one until the service must have noticed its end.
func TestWhoseAConnectionIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(&Config{}, &tunnel{id: "a"})
		c, first := s.current.Load(), time.Now()
		want := func(when string, at time.Time, want owner) {
			t.Helper()
			if got := s.owner(c, at); got != want {
				t.Errorf("%s: %d, want %d", when, got, want)
			}
		}
		want("before the first link", first, others)
		c.links.Store(1)
		c.connectedAt, c.recorded = first, 1
		want("it is the first link", first, ours)
		want("after the first link", first.Add(time.Second), others)
		c.links.Store(2)
		second := first.Add(time.Minute)
		want("of a tunnel that others may have found, too", second, others)
		c.contested = false
		want("of the second link, or another's", second, unclear)
		time.Sleep(unnoticed)
		want("as long as the service may take", second, unclear)
		want("another time", second.Add(time.Second), others)
		c.links.Store(3)
		want("of the third link, or another's", second.Add(2*time.Second), unclear)
		time.Sleep(unnoticed + time.Second)
		want("longer than the service may take", second.Add(2*time.Second), others)
	})
}

// A tunnel that follows another one carries connections: it is not given up like the first one, on which there are none yet.
func TestWhoseAConnectionToAFollowingTunnelIs(t *testing.T) {
	began := time.Now()
	cfg := checked(t, Config{})
	s := newSession(&cfg, &tunnel{id: "a", opened: true})
	s.next.find = func(context.Context) (*tunnel, error) { return &tunnel{id: "b"}, nil }
	c, err := s.next.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, replaced := s.replace(s.current.Load(), c, time.Time{}, false); !replaced {
		t.Fatal("it is not the session's")
	}
	c.links.Store(2)
	c.connectedAt, c.recorded = began, 1
	if got := s.owner(c, began.Add(time.Second)); got != unclear {
		t.Errorf("owner %d, want %d", got, unclear)
	}
}

// A handshake without an answer may have been let in: the connection that the service shows then may be this side's.
func TestWhoseAConnectionIsAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(&Config{}, &tunnel{id: "a", opened: true})
		c, began := s.current.Load(), time.Now()
		at := func(after time.Duration, status types.ConnectionStatus) *types.Tunnel {
			return aTunnel("a", func(d *types.Tunnel) {
				d.CreatedAt = aws.Time(began)
				d.SourceConnectionState = &types.ConnectionState{Status: status, LastUpdatedAt: aws.Time(began.Add(after))}
			})
		}
		first, second := at(time.Second, types.ConnectionStatusConnected), at(time.Minute, types.ConnectionStatusConnected)
		want := func(when string, d *types.Tunnel, lost bool) {
			t.Helper()
			if got := s.isLostIn(c, d); got != lost {
				t.Errorf("%s: another operator's %v, want %v", when, got, lost)
			}
		}
		owns := func(when string, d *types.Tunnel, want owner) {
			t.Helper()
			if got := s.owner(c, *d.SourceConnectionState.LastUpdatedAt); got != want {
				t.Errorf("%s: owner %d, want %d", when, got, want)
			}
		}
		want("before the first handshake", first, true)
		s.noteUnseen(c, time.Now())
		want("one has connected", first, false)
		want("one has connected and left", at(time.Second, types.ConnectionStatusDisconnected), false)
		owns("this side is refused", first, unclear)
		want("after a refusal", first, true)
		want("after a refusal, and the connection has ended", at(2*time.Second, types.ConnectionStatusDisconnected), false)
		time.Sleep(unnoticed + time.Second)
		owns("longer than the service may take", first, others)

		c.links.Store(1)
		c.connectedAt, c.recorded = began.Add(time.Second), c.admissions()
		want("of the link that is known", first, false)
		want("after the link that is known", second, true)
		s.noteUnseen(c, time.Now())
		want("after another lost answer", second, false)
		time.Sleep(unnoticed + time.Second)
		want("it has outlived what was lost", second, true)
		owns("this side is refused only then", second, unclear)
		owns("another time", at(2*time.Minute, types.ConnectionStatusConnected), others)
	})
}

// Right after a tunnel's opening, its source connection is this side's own; later, it may be another operator's.
func TestWhoseTheFirstConnectionIs(t *testing.T) {
	const asked = time.Second // after the opening
	for name, tt := range map[string]struct {
		found  bool // not opened here
		linked bool // this side has had a link
		asked  time.Duration
		again  time.Duration // when a second answer was lost
		at     time.Duration // of the connection
		want   bool
	}{
		"at once": {asked: asked, at: asked, want: true}, "before the opening was answered": {at: 0, want: true},
		"after a slow handshake": {asked: asked, at: asked + admitTime - time.Millisecond, want: true},
		"too late for that":      {asked: asked, at: asked + admitTime},
		"no answer was lost":     {asked: -1, at: asked},
		"after a second loss":    {asked: asked, again: 30 * time.Second, at: 20 * time.Second},
		"when others may use it": {asked: setupGrace, at: setupGrace},
		"to a tunnel of another": {found: true, asked: asked, at: asked},
		"after a link":           {linked: true, asked: asked, at: asked},
	} {
		t.Run(name, func(t *testing.T) {
			made, created := time.Now(), time.Now().Add(-time.Hour) // by a clock that is behind
			its := &tunnel{id: "a", opened: true, made: made}
			if tt.found {
				its.made = time.Time{}
			}
			s := newSession(&Config{}, its)
			c := s.current.Load()
			for _, asked := range []time.Duration{tt.asked, tt.again} {
				if tt.asked >= 0 && (asked == tt.asked || asked > 0) {
					s.noteUnseen(c, made.Add(asked))
				}
			}
			if tt.linked {
				c.links.Store(1)
			}
			d := aTunnel("a", func(d *types.Tunnel) {
				d.CreatedAt = &created
				d.SourceConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(created.Add(tt.at))}
			})
			if got := s.isFirst(c, d); got != tt.want {
				t.Errorf("this side's %v, want %v", got, tt.want)
			}
		})
	}
}

// A tunnel that was opened here is left open if another operator may be using it, and the user learns of it.
func TestATunnelThatMayBeAnotherOperatorsIsLeftOpen(t *testing.T) {
	inUse := aTunnel("a", func(d *types.Tunnel) {
		d.SourceConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(time.Now())}
	})
	for name, refused := range map[string]bool{"this side was refused": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			api, news := &scripted{tunnels: []*types.Tunnel{inUse}}, &told{}
			cfg := checked(t, Config{API: api, Progress: news.event, NetDial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no network")
			}})
			s := newSession(&cfg, &tunnel{id: "a", opened: true})
			c := s.current.Load()
			s.noteUnseen(c, time.Now())
			if refused {
				if err := s.renew(t.Context(), c, &proxy.HandshakeError{Status: http.StatusBadRequest}); !errors.Is(err, errUnclear) {
					t.Fatalf("after a refusal: %v", err)
				}
			}
			s.closeTunnel(c)
			if closed := slices.Contains(api.asked(), "close a"); closed == refused {
				t.Errorf("calls %v", api.asked())
			}
			if texts := strings.Join(news.texts(Notice), "\n"); strings.Contains(texts, "tunnel a is left open") != refused {
				t.Errorf("told %q", texts)
			}
		})
	}
}
