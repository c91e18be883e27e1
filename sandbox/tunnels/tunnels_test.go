package tunnels

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNotifications(t *testing.T) {
	other := &DestinationConfig{"pi-2", []string{"HTTP", "VNC"}}
	tests := []struct {
		name         string
		b            Behaviour
		mode         string
		d            *DestinationConfig
		thing        string
		services     []string
		tunnelBecame []string
	}{
		{"rotation with a config notifies its thing", Behaviour{}, RotateDestination, other, "pi-2", other.Services, []string{"SSH"}},
		{"rotation of both sides too", Behaviour{}, RotateAll, other, "pi-2", other.Services, []string{"SSH"}},
		{"rotation without a config is silent", Behaviour{}, RotateDestination, nil, "", nil, []string{"SSH"}},
		{"or notifies the stored thing", Behaviour{RotationNotifiesWithoutConfig: true}, RotateAll, nil, "pi", []string{"SSH"}, []string{"SSH"}},
		{"a config without a thing notifies no device", Behaviour{}, RotateAll, &DestinationConfig{Services: []string{"A"}}, "", nil, []string{"SSH"}},
		{"the config becomes the tunnel's when so configured", Behaviour{RotationChangesServices: true}, RotateAll, other, "pi-2", other.Services, other.Services},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLife(t, tt.b)
			l.rotate(tt.mode, tt.d)
			if tt.thing == "" {
				if len(l.notes) != 0 {
					t.Fatalf("notified %v", l.things)
				}
			} else {
				want := []Notify{{ClientAccessToken: l.dst, Region: "eu-west-1", Services: tt.services}}
				if d := cmp.Diff(want, l.notes); d != "" || l.things[0] != tt.thing {
					t.Fatalf("thing %v, (-want +got)\n%s", l.things, d)
				}
			}
			l.connect("new", l.dst, clientA, "")
			if d := cmp.Diff(tt.tunnelBecame, l.conns["new"].Services); d != "" {
				t.Errorf("services (-want +got)\n%s", d)
			}
		})
	}
	t.Run("opening notifies when it names a thing", func(t *testing.T) {
		l := newLife(t, Behaviour{})
		for _, d := range []*DestinationConfig{nil, {Services: []string{"SSH"}}, other} {
			if _, err := l.store.Open(OpenInput{Destination: d}); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff([]string{"pi-2"}, l.things); d != "" {
			t.Error(d)
		}
	})
	t.Run("a listener may call the store", func(t *testing.T) {
		l := newLife(t, Behaviour{})
		var found bool
		l.store.OnNotify(func(_ string, n Notify) {
			a, _ := l.store.Admit(Handshake{Mode: Destination, Token: n.ClientAccessToken})
			found = a != nil
		})
		l.rotate(RotateAll, other)
		if !found {
			t.Error("the token is not valid when its notification goes out")
		}
	})
}

func TestRefusedRequests(t *testing.T) {
	l := newLife(t, Behaviour{RotateBeforeConnectFails: true})
	var invalid *InvalidError
	var missing *NotFoundError
	if _, err := l.store.Rotate(l.id, RotateSource, &DestinationConfig{ThingName: "pi"}); !errors.As(err, &invalid) {
		t.Errorf("destinationConfig with SOURCE: %v", err)
	}
	if _, err := l.store.Rotate(l.id, "BOTH", nil); !errors.As(err, &invalid) {
		t.Errorf("unknown mode: %v", err)
	}
	if _, err := l.store.Rotate(l.id, RotateAll, nil); !errors.As(err, &invalid) {
		t.Errorf("rotation of a tunnel never connected: %v", err)
	}
	l.connect("destination", l.dst, clientA, "")
	l.rotate(RotateAll, nil)
	_, err := l.store.Rotate("nope", RotateAll, nil)
	_, err2 := l.store.Describe("nope")
	for _, err := range []error{err, err2, l.store.Close("nope", false), l.store.Tag("nope", nil), l.store.Untag("nope", nil)} {
		if !errors.As(err, &missing) || missing.ID != "nope" {
			t.Errorf("unknown tunnel: %v", err)
		}
	}
	s := New(Config{MaxTunnels: 1})
	o, err := s.Open(OpenInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(OpenInput{}); !errors.As(err, new(*LimitError)) {
		t.Errorf("second tunnel of one allowed: %v", err)
	}
	if err := s.Close(o.Tunnel.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(OpenInput{}); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}

func TestRefusalForms(t *testing.T) {
	tests := []struct {
		name string
		b    Behaviour
		want Refusal
	}{
		{"as seen", Behaviour{}, Refusal{Status: 400, Body: "Invalid access token: The tunnel is closed."}},
		{"only a header", Behaviour{RefusalStatus: 410, RefusalWithoutBody: true, RefusalReasonHeader: true}, Refusal{Status: 410, Reason: "Tunnel is closed"}},
		{"nothing at all", Behaviour{RefusalStatus: 403, RefusalWithoutBody: true}, Refusal{Status: 403}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLife(t, tt.b)
			if err := l.store.Close(l.id, false); err != nil {
				t.Fatal(err)
			}
			tt.want.Kind = RefusedClosed
			_, got := l.store.Admit(Handshake{Mode: Destination, Token: l.dst})
			if d := cmp.Diff(&tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	l := newLife(t, Behaviour{})
	ids := func(thing string) (out []string) {
		for _, tn := range l.store.List(thing) {
			out = append(out, tn.ID)
		}
		return out
	}
	if d := cmp.Diff([]string{l.other.Tunnel.ID, l.id}, ids("")); d != "" {
		t.Errorf("newest first: %s", d)
	}
	if d := cmp.Diff([]string{l.id}, ids("pi")); d != "" {
		t.Errorf("of a thing: %s", d)
	}
	arn := "arn:aws:iot:eu-west-1:123456789012:tunnel/" + l.id
	if err := l.store.Tag(arn, []Tag{{"a", "1"}, {"b", "2"}, {"a", "3"}}); err != nil {
		t.Fatal(err)
	}
	if err := l.store.Untag(arn, []string{"b", "absent"}); err != nil {
		t.Fatal(err)
	}
	if tags, err := l.store.Tags(arn); err != nil || !cmp.Equal(tags, []Tag{{"a", "3"}}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	if err := l.store.Close(l.id, false); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(3*time.Hour - time.Second)
	if d, err := l.store.Describe(l.id); err != nil || d.Status != Closed {
		t.Errorf("a closed record within three hours: %v, %v", d.Status, err)
	}
	if err := l.store.Close(l.id, true); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{l.other.Tunnel.ID}, ids("")); d != "" {
		t.Errorf("a deleted record is listed: %s", d)
	}
	l.now = l.now.Add(24 * time.Hour)
	if len(l.store.List("")) != 1 {
		t.Error("the expired tunnel is not visible as closed")
	}
	l.now = l.now.Add(4 * time.Hour)
	if len(l.store.List("")) != 0 || len(l.store.tokens) != 0 {
		t.Error("records outlive their time")
	}
}

func TestTokensLookLikeRealOnes(t *testing.T) {
	l := newLife(t, Behaviour{})
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{600}$`)
	seen := map[string]bool{}
	for _, tok := range []string{l.src, l.dst, l.other.SourceToken, l.other.DestinationToken} {
		raw, err := base64.RawURLEncoding.DecodeString(tok)
		if !form.MatchString(tok) || err != nil || seen[tok] {
			t.Errorf("token of %d characters: %v", len(tok), err)
		}
		if !strings.Contains(string(raw), "arn:aws:kms:eu-west-1:123456789012:key/") {
			t.Error("no key ARN in the clear header")
		}
		seen[tok] = true
	}
}

func TestConnectionsEndAtExpiryWithoutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		o, err := s.Open(OpenInput{Lifetime: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := s.Admit(Handshake{Mode: Source, Token: o.SourceToken})
		start := time.Now()
		<-a.Ended()
		if got := time.Since(start); got != time.Minute || a.Cause() != Expired {
			t.Errorf("ended after %v by %v", got, a.Cause())
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	s := New(Config{})
	s.OnNotify(func(string, Notify) {})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				o, err := s.Open(OpenInput{Destination: &DestinationConfig{"pi", []string{"SSH"}}})
				if err != nil {
					t.Error(err)
					return
				}
				a, _ := s.Admit(Handshake{Mode: Destination, Token: o.DestinationToken})
				_, _ = s.Rotate(o.Tunnel.ID, RotateAll, nil)
				<-a.Ended()
				a.Release()
				s.List("pi")
				_ = s.Tag(o.Tunnel.ARN, []Tag{{"a", "b"}})
				_ = s.Close(o.Tunnel.ID, true)
			}
		})
	}
	wg.Wait()
}
