package connect

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// slowToOpen is a control API that takes its time to open a tunnel.
type slowToOpen struct {
	*scripted

	takes time.Duration
}

func (s *slowToOpen) OpenTunnel(ctx context.Context, in *iot.OpenTunnelInput, opts ...func(*iot.Options)) (*iot.OpenTunnelOutput, error) {
	select {
	case <-time.After(s.takes):
		return s.scripted.OpenTunnel(ctx, in, opts...)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A caller who leaves during the call waits for the id of the tunnel, but only for a while.
func TestHowLongAnInterruptedOpeningTakes(t *testing.T) {
	const leaves = time.Second
	for name, tt := range map[string]struct {
		takes, want time.Duration
		closed      bool
		notice      string
	}{
		"a slow answer": {takes: 4 * time.Second, want: 4 * time.Second, closed: true},
		"no answer":     {takes: time.Hour, want: leaves + answerTime, notice: "culvert list-tunnels"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				api, news := &slowToOpen{&scripted{}, tt.takes}, &told{}
				cfg := checked(t, Config{API: api, New: true, Progress: news.event})
				ctx, cancel := context.WithTimeoutCause(t.Context(), leaves, errStopped)
				defer cancel()
				_, err := (&finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}}).find(ctx)
				if took := time.Since(began); took != tt.want || !errors.Is(err, errStopped) {
					t.Errorf("%v after %v, want the context's cause after %v", err, took, tt.want)
				}
				if closed := slices.Contains(api.asked(), "close new"); closed != tt.closed {
					t.Errorf("calls %v, want the tunnel closed: %v", api.asked(), tt.closed)
				}
				if notices := strings.Join(news.texts(Notice)[1:], "\n"); (notices == "") != (tt.notice == "") || !strings.Contains(notices, tt.notice) {
					t.Errorf("told %q, want %q", notices, tt.notice)
				}
			})
		})
	}
}

// unread is a control API that opens a tunnel, whose answer is lost just before the caller leaves.
type unread struct {
	*scripted

	leave func()
}

func (u *unread) OpenTunnel(ctx context.Context, in *iot.OpenTunnelInput, opts ...func(*iot.Options)) (*iot.OpenTunnelOutput, error) {
	if _, err := u.scripted.OpenTunnel(ctx, in, opts...); err != nil {
		return nil, err
	}
	time.AfterFunc(time.Nanosecond, u.leave)
	return nil, io.ErrUnexpectedEOF
}

// A caller who leaves while a search is about to be repeated has left, whatever the search failed with.
func TestLeavingAfterALostAnswerIsNoFailure(t *testing.T) {
	for name, fresh := range map[string]bool{"any tunnel": false, "always a new one": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				api := &unread{&scripted{}, func() { cancel(errStopped) }}
				cfg := Config{API: api, Region: "eu-west-1", New: fresh}
				if _, err := Open(ctx, cfg, "pi-1", "SSH"); !errors.Is(err, errStopped) {
					t.Errorf("error %v, want the cause of the context", err)
				}
			})
		})
	}
}

// tokenless is a control API whose new tunnels come without a token.
type tokenless struct{ *scripted }

func (s *tokenless) OpenTunnel(ctx context.Context, in *iot.OpenTunnelInput, opts ...func(*iot.Options)) (*iot.OpenTunnelOutput, error) {
	out, err := s.scripted.OpenTunnel(ctx, in, opts...)
	if err == nil {
		out.SourceAccessToken = nil
	}
	return out, err
}

func TestATunnelWithoutATokenIsClosed(t *testing.T) {
	api := &tokenless{&scripted{}}
	cfg := checked(t, Config{API: api, New: true})
	if _, err := (&finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}}).find(t.Context()); err == nil {
		t.Error("it was used")
	}
	if calls := api.asked(); !slices.Equal(calls, []string{"list pi-1", "open pi-1 SSH", "close new"}) {
		t.Errorf("calls %q", calls)
	}
}

// The monotonic clock stands still while a laptop sleeps, and a tunnel's life does not.
func TestAnExpiryIsAWallClocksTime(t *testing.T) {
	cfg := checked(t, Config{API: &scripted{}, New: true, Lifetime: time.Hour})
	found, err := (&finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}}).find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e := found.expires; strings.Contains(e.String(), " m=") || time.Until(e).Round(time.Minute) != time.Hour {
		t.Errorf("it ends at %v, which is to be in an hour, without the monotonic clock's reading m", e)
	}
}
