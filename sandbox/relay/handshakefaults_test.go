package relay

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

func TestRefusedByFault(t *testing.T) {
	g := newRig(t)
	g.relay.Faults().Refuse(Target{Side: dst}, Refusal{Count: 2, Status: 429, Body: "slow down", RetryAfter: "7", Header: map[string]string{"X-Status-Reason": "Throttled"}})
	g.join(src, "3.0")
	for range 2 {
		_, res, err := g.try(dst, "3.0", g.header(dst))
		if !errors.Is(err, websocket.ErrBadHandshake) {
			t.Fatal(err)
		}
		got := []any{res.status, res.header.Get("Retry-After"), res.header.Get("X-Status-Reason"), res.header.Get("channel-id") != ""}
		if d := cmp.Diff([]any{429, "7", "Throttled", true}, got); d != "" {
			t.Error(d)
		}
	}
	g.join(dst, "3.0") // the token still works
}

func TestALostAnswerBindsTheToken(t *testing.T) {
	g := newRig(t)
	g.relay.Faults().LoseAnswers(Target{Tunnel: g.id}, 1)
	if _, _, err := g.try(dst, "3.0", g.header(dst)); err == nil || errors.Is(err, websocket.ErrBadHandshake) {
		t.Fatalf("the handshake was answered: %v", err)
	}
	h := g.header(dst)
	h["client-token"] = []string{clientS}
	if _, _, err := g.try(dst, "3.0", h); !errors.Is(err, websocket.ErrBadHandshake) {
		t.Fatalf("another client token: %v", err)
	}
	g.join(dst, "3.0")
}

func TestHandshakesInABlackHoleHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, with(func(c *Config) { c.Cutting = Straight })) // which keeps exact time
		f := g.relay.Faults()
		f.Set(Target{}, Conditions{BlackHole: true})
		go func() {
			time.Sleep(5 * time.Second)
			f.Clear()
		}()
		began := time.Now()
		g.join(dst, "3.0")
		if got := time.Since(began); got != 5*time.Second {
			t.Errorf("connected after %v", got)
		}
		f.Set(Target{}, Conditions{SlowHandshake: 3 * time.Second})
		began = time.Now()
		g.join(src, "3.0")
		if got := time.Since(began); got != 3*time.Second {
			t.Errorf("connected after %v", got)
		}
	})
}

func TestAHandshakeAnsweredInAWrongWayHappensOnceAndCostsNoToken(t *testing.T) {
	g := newRig(t)
	f := g.relay.Faults()
	f.Misname(Target{Side: dst}, 1, "chat")
	ws, answer, err := g.try(dst, "3.0", g.header(dst))
	if err != nil || answer.header.Get("Sec-Websocket-Protocol") != "chat" {
		t.Fatalf("%v %+v", err, answer)
	}
	g.await(dst)
	_ = ws.Close()
	f.EndEarly(Target{Side: dst}, 1, Ending{Code: 1013})
	early := g.connect(dst, "3.0")
	early.ended(1013)
	if early.raw.Len() > 0 {
		t.Errorf("%d bytes came before the end", early.raw.Len())
	}
	g.join(dst, "3.0")
}

func TestHandshakesAboveTheLimitGet429(t *testing.T) {
	g := newRig(t)
	g.relay.Faults().Limit(1)
	g.join(src, "3.0")
	_, res, err := g.try(dst, "3.0", g.header(dst))
	if !errors.Is(err, websocket.ErrBadHandshake) || res.status != http.StatusTooManyRequests {
		t.Fatalf("%v, %+v", err, res)
	}
	g.relay.Faults().Clear()
	g.join(dst, "3.0") // the token still works
}
