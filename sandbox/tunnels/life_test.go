package tunnels

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const (
	clientA = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	clientB = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
)

// life is one tunnel (and a second one) on a clock of its own, with short words for what can happen to it.
type life struct {
	t        *testing.T
	now      time.Time
	store    *Store
	id       string
	src, dst string
	oldDst   string
	other    Opened
	notes    []Notify
	things   []string
	conns    map[string]*Admission
}

func newLife(t *testing.T, b Behaviour) *life {
	t.Helper()
	l := &life{t: t, now: time.Unix(1_700_000_000, 0), conns: map[string]*Admission{}}
	l.store = New(Config{Region: "eu-west-1", Now: func() time.Time { return l.now }, Behaviour: b})
	o, err := l.store.Open(OpenInput{Lifetime: time.Hour, Destination: &DestinationConfig{"pi", []string{"SSH"}}})
	if err != nil {
		t.Fatal(err)
	}
	if l.other, err = l.store.Open(OpenInput{}); err != nil {
		t.Fatal(err)
	}
	l.id, l.src, l.dst = o.Tunnel.ID, o.SourceToken, o.DestinationToken
	l.store.OnNotify(func(thing string, n Notify) { l.things, l.notes = append(l.things, thing), append(l.notes, n) })
	return l
}

// connect admits a destination under a name; want is "" or the kind of refusal.
func (l *life) connect(name, token, client string, want RefusalKind) {
	l.t.Helper()
	l.connectAs(Destination, name, token, client, want)
}

func (l *life) connectAs(m Mode, name, token, client string, want RefusalKind) {
	l.t.Helper()
	a, r := l.store.Admit(Handshake{Mode: m, Token: token, ClientToken: client})
	got := RefusalKind("")
	if r != nil {
		got = r.Kind
	}
	if got != want {
		l.t.Fatalf("%s: refused with %q, want %q", name, got, want)
	}
	if a != nil {
		a.Connected()
		l.conns[name] = a
	}
}

func (l *life) rotate(mode string, d *DestinationConfig) {
	l.t.Helper()
	r, err := l.store.Rotate(l.id, mode, d)
	if err != nil {
		l.t.Fatal(err)
	}
	if r.DestinationToken != "" {
		l.oldDst, l.dst = l.dst, r.DestinationToken
	}
	if r.SourceToken != "" {
		l.src = r.SourceToken
	}
}

func (l *life) ended(name string, want Cause) {
	l.t.Helper()
	if got := l.conns[name].Cause(); got != want {
		l.t.Fatalf("%s: ended by %v, want %v", name, got, want)
	}
}

func (l *life) state(m Mode, want string, at time.Time) {
	l.t.Helper()
	d, err := l.store.Describe(l.id)
	if err != nil {
		l.t.Fatal(err)
	}
	got := d.DestinationState
	if m == Source {
		got = d.SourceState
	}
	if got.Status != want || !got.LastUpdatedAt.Equal(at) {
		l.t.Fatalf("%s state %+v, want %s since %v", m, got, want, at)
	}
}

func TestTokenLife(t *testing.T) {
	tests := []struct {
		name string
		b    Behaviour
		play func(*life)
	}{
		{"without a client token one handshake spends it", Behaviour{}, func(l *life) {
			l.connect("first", l.dst, "", "")
			l.conns["first"].Release()
			l.connect("again", l.dst, "", RefusedUsed)
			l.connect("with a late client token", l.dst, clientA, RefusedUsed)
		}},
		{"a refused handshake spends nothing", Behaviour{}, func(l *life) {
			l.connectAs(Source, "wrong mode", l.dst, clientA, RefusedMode)
			l.connect("short client token", l.dst, strings.Repeat("a", 31), RefusedClientToken)
			l.connect("long client token", l.dst, strings.Repeat("a", 129), RefusedClientToken)
			l.connect("client token with a dot", l.dst, strings.Repeat("a", 31)+".", RefusedClientToken)
			l.connect("right", l.dst, "", "")
		}},
		{"an unknown token is refused", Behaviour{}, func(l *life) {
			l.connect("unknown", l.dst+"x", clientA, RefusedUnknownToken)
			l.connect("empty", "", clientA, RefusedUnknownToken)
		}},
		{"a pair may reconnect, no other client may use its token", Behaviour{}, func(l *life) {
			l.connect("first", l.dst, clientA, "")
			l.conns["first"].Release()
			l.connect("same pair", l.dst, clientA, "")
			l.conns["same pair"].Release()
			l.connect("no client token", l.dst, "", RefusedUsed)
			l.connect("another client token", l.dst, clientB, RefusedClientMismatch)
			l.connect("same pair once more", l.dst, clientA, "")
		}},
		{"the shortest and the longest client token pass", Behaviour{}, func(l *life) {
			l.connect("32", l.dst, strings.Repeat("a", 32), "")
			l.connectAs(Source, "128", l.src, strings.Repeat("b", 128), "")
		}},
		{"a client token is unique among all open tunnels", Behaviour{}, func(l *life) {
			l.connect("first", l.dst, clientA, "")
			l.connectAs(Source, "other side", l.src, clientA, RefusedClientTaken)
			l.connectAs(Source, "other tunnel", l.other.SourceToken, clientA, RefusedClientTaken)
			if err := l.store.Close(l.id, false); err != nil {
				l.t.Fatal(err)
			}
			l.connectAs(Source, "after the tunnel was closed", l.other.SourceToken, clientA, "")
		}},
		{"a new connection of the same pair replaces the old one", Behaviour{}, func(l *life) {
			l.connect("first", l.dst, clientA, "")
			l.connect("second", l.dst, clientA, "")
			l.ended("first", Replaced)
			l.ended("second", NotEnded)
			l.conns["first"].Release()
			l.state(Destination, Connected, l.now)
		}},
		{"the same pair waits for its old connection when so configured", Behaviour{SamePairWaits: true}, func(l *life) {
			l.connect("first", l.dst, clientA, "")
			l.connect("too early", l.dst, clientA, RefusedWait)
			l.ended("first", NotEnded)
			l.conns["first"].Release()
			l.connect("second", l.dst, clientA, "")
		}},
		{"rotation revokes the token and ends its connection", Behaviour{}, func(l *life) {
			l.connect("old", l.dst, clientA, "")
			l.connectAs(Source, "source", l.src, clientB, "")
			l.rotate(RotateDestination, nil)
			l.ended("old", Revoked)
			l.ended("source", NotEnded)
			l.state(Destination, Disconnected, l.now)
			l.connect("old pair", l.oldDst, clientA, RefusedRevoked)
			l.connect("old client token", l.dst, clientA, RefusedClientTaken)
			l.connect("new", l.dst, "cccccccc-cccc-4ccc-8ccc-cccccccccccc", "")
		}},
		{"rotation keeps the connection when so configured", Behaviour{RotationKeepsConnection: true}, func(l *life) {
			l.connect("old", l.dst, clientA, "")
			l.rotate(RotateAll, nil)
			l.ended("old", NotEnded)
			l.connect("old pair", l.oldDst, clientA, RefusedRevoked)
			l.ended("old", NotEnded)
			l.connect("new", l.dst, clientB, "")
			l.ended("old", Replaced)
		}},
		{"a rotated token works a while longer when so configured", Behaviour{OldTokenWorks: time.Minute}, func(l *life) {
			l.connect("old", l.dst, clientA, "")
			l.rotate(RotateDestination, nil)
			l.ended("old", Revoked)
			l.connect("new", l.dst, clientB, "")
			l.now = l.now.Add(time.Minute - 1)
			l.connect("old again", l.oldDst, clientA, "")
			l.ended("new", Replaced)
			l.now = l.now.Add(1)
			l.connect("too late", l.oldDst, clientA, RefusedRevoked)
		}},
		{"a client token survives rotation when so configured", Behaviour{ClientTokenSurvivesRotation: true}, func(l *life) {
			l.connect("old", l.dst, clientA, "")
			l.rotate(RotateAll, nil)
			l.connectAs(Source, "other side", l.src, clientA, RefusedClientTaken)
			l.connect("new", l.dst, clientA, "")
		}},
		{"rotation of SOURCE leaves the destination alone and notifies no device", Behaviour{RotationNotifiesWithoutConfig: true}, func(l *life) {
			l.connect("destination", l.dst, clientA, "")
			old := l.src
			l.rotate(RotateSource, nil)
			l.ended("destination", NotEnded)
			l.connectAs(Source, "old", old, clientB, RefusedRevoked)
			l.connectAs(Source, "new", l.src, clientB, "")
			if len(l.notes) != 0 {
				l.t.Fatalf("notified %v", l.notes)
			}
		}},
		{"rotation never extends the tunnel's life", Behaviour{}, func(l *life) {
			l.now = l.now.Add(59 * time.Minute)
			l.rotate(RotateAll, nil)
			l.connect("in time", l.dst, clientA, "")
			l.now = l.now.Add(time.Minute)
			l.connect("too late", l.dst, clientA, RefusedExpired)
			l.ended("in time", Expired)
			l.state(Destination, Disconnected, l.now)
		}},
		{"closing ends both sides, and a closed tunnel admits no end", Behaviour{}, func(l *life) {
			l.connect("destination", l.dst, clientA, "")
			l.connectAs(Source, "source", l.src, clientB, "")
			if err := l.store.Close(l.id, false); err != nil {
				l.t.Fatal(err)
			}
			l.ended("destination", TunnelClosed)
			l.ended("source", TunnelClosed)
			l.connect("again", l.dst, clientA, RefusedClosed)
			if _, err := l.store.Rotate(l.id, RotateAll, nil); !errors.As(err, new(*NotFoundError)) {
				l.t.Fatalf("rotating a closed tunnel: %v", err)
			}
		}},
		{"the state shows who is connected since when", Behaviour{}, func(l *life) {
			opened := l.now
			l.state(Destination, Disconnected, opened)
			l.now = l.now.Add(time.Second)
			l.connect("first", l.dst, clientA, "")
			l.state(Destination, Connected, l.now)
			l.state(Source, Disconnected, opened)
			l.now = l.now.Add(time.Second)
			l.conns["first"].Release()
			l.state(Destination, Disconnected, l.now)
			released := l.now
			l.now = l.now.Add(time.Second)
			l.conns["first"].Release()
			l.state(Destination, Disconnected, released)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.play(newLife(t, tt.b)) })
	}
}
