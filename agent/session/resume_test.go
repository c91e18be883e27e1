package session

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/secret"
)

func TestARestartReconnectsWithTheSamePair(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		accept(t, m, "a", Accepted)
		pass(time.Hour)
		accept(t, m, "b", Accepted)
		received := time.Now()
		w.close(m)

		pass(time.Minute)
		m = w.manager()
		if n, err := m.Resume(); err != nil || n != 2 {
			t.Fatalf("%d resumed, want 2", n)
		}
		pass(0)
		for _, name := range []string{"a", "b"} {
			d := w.attempts("TOKEN-" + name)
			if len(d) != 2 || d[0].client != d[1].client {
				t.Errorf("%s: attempts %+v, want two with one client token", name, d)
			}
		}
		for _, line := range w.logs.lines("tunnel connected")[2:] {
			if got := field(line, "delay"); got != "0s" {
				t.Errorf("connected after %s, want the time since the start: %s", got, line)
			}
		}
		st := find(t, m, "b")
		if st.State != Connected || !st.Received.Equal(received) || st.Region != "eu-west-1" || len(st.Services) != 1 {
			t.Errorf("%+v", st)
		}
		// Twelve hours count from the notification, not from the restart.
		pass(10*time.Hour + 58*time.Minute)
		if got := find(t, m, "a").State; got != Connected {
			t.Errorf("a is %s a minute early", got)
		}
		pass(time.Minute)
		if got := find(t, m, "a").State; got != Ended {
			t.Errorf("a is %s after 12 h", got)
		}
	})
}

func TestAfterARestartARefusalGetsMoreTriesOnlyIfThePairHadWorked(t *testing.T) {
	for worked, want := range map[bool]int{true: 4, false: 1} {
		in(t, func(t *testing.T, w *world) {
			first := step{err: errNetwork}
			if worked {
				first = step{stands: time.Hour}
			}
			w.script("TOKEN-a", first)
			m := w.manager(func(c *Config) { c.Random = func() float64 { return 0.5 } })
			accept(t, m, "a", Accepted)
			w.close(m)

			w.script("TOKEN-a", slices.Repeat([]step{{err: refusal(400, "busy")}}, 10)...)
			m = w.manager()
			_, _ = m.Resume()
			pass(time.Hour)
			if got := len(w.attempts("TOKEN-a")) - 1; got != want || find(t, m, "a").State != Ended {
				t.Errorf("worked %v: %d handshakes after the restart, want %d; %s", worked, got, want, find(t, m, "a").State)
			}
		})
	}
}

func TestOnlyWhatIsOverIsForgottenAtAResume(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		accept(t, m, "crashed", Accepted)
		accept(t, m, "far", Accepted)
		w.close(m)
		// The daemon died between remembering the end and removing the pair.
		m.store.spent.add(token("crashed").AccessToken.Fingerprint(), time.Now())
		data, err := m.store.spent.encode()
		if err == nil {
			err = os.WriteFile(filepath.Join(w.dir, endedName), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		before := len(w.dials)
		m = w.manager(func(c *Config) { c.Regions = []string{"us-east-1"} })
		if n, err := m.Resume(); err != nil || n != 0 {
			t.Errorf("%d resumed, want none", n)
		}
		pass(time.Minute)
		if len(w.dials) != before {
			t.Error("one of them was dialled")
		}
		if got := w.files(); !slices.Equal(got, []string{endedName, fileOf("far")}) {
			t.Errorf("the state directory holds %q", got)
		}
		reasons := make(map[string]string)
		for _, line := range w.logs.lines("tunnel not resumed") {
			reasons[field(line, "session")] = field(line, "reason")
		}
		for name, want := range map[string]string{
			"crashed": "its session had ended before the restart",
			"far":     "region eu-west-1 is not in tunnel.regions",
		} {
			if got := reasons[token(name).AccessToken.ID()]; got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		// What only the configuration refused comes back with it, with the client token that it had.
		m.SetLimits(0, nil)
		pass(0)
		if got := find(t, m, "far").State; got != Connected {
			t.Errorf("far is %s after its region is allowed again", got)
		}
		if d := w.attempts("TOKEN-far"); len(d) != 2 || d[0].client != d[1].client {
			t.Errorf("%+v", d)
		}
	})
}

func TestTheServiceDecidesHowOldAResumedTunnelMayBe(t *testing.T) {
	for name, want := range map[string]State{"stands": Connected, "over": Ended} {
		in(t, func(t *testing.T, w *world) {
			m := w.manager()
			accept(t, m, "a", Accepted)
			w.close(m)
			pass(13 * time.Hour) // or the clock was set
			if name == "over" {
				w.script("TOKEN-a", step{err: refusal(400, "Tunnel is expired")})
			}
			m = w.manager()
			if n, err := m.Resume(); err != nil || n != 1 {
				t.Fatalf("%d resumed, %v", n, err)
			}
			pass(time.Minute)
			if got := find(t, m, "a").State; got != want {
				t.Errorf("%s: it is %s", name, got)
			}
		})
	}
}

func TestTheNewestPairsAreResumedWhenThereAreTooMany(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		for _, name := range []string{"1", "2", "3"} {
			accept(t, m, name, Accepted)
			pass(time.Minute)
		}
		w.close(m)
		w.script("TOKEN-3", step{stands: time.Hour, err: errClosed}, step{err: refusal(400, "closed")})
		m = w.manager(func(c *Config) { c.MaxTunnels = 2 })
		if n, err := m.Resume(); err != nil || n != 2 {
			t.Errorf("%d resumed", n)
		}
		pass(0)
		if find(t, m, "3").State != Connected || find(t, m, "2").State != Connected {
			t.Error("the newer ones are not connected")
		}
		if got := w.files(); !slices.Contains(got, fileOf("1")) {
			t.Errorf("the oldest pair is gone: %q", got)
		}
		// Its notification comes again: the pair on disk counts, a new client token would spoil it.
		pass(time.Hour + time.Minute)
		if find(t, m, "1").State != Connected {
			t.Error("it has not taken the place that became free")
		}
		if d := w.attempts("TOKEN-1"); len(d) != 2 || d[0].client != d[1].client {
			t.Errorf("%+v", d)
		}
	})
}

func TestARepeatedNotificationOfAParkedPairUsesItsClientToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		accept(t, m, "old", Accepted)
		pass(time.Minute)
		accept(t, m, "new", Accepted)
		w.close(m)
		m = w.manager(func(c *Config) { c.MaxTunnels = 1 })
		if n, _ := m.Resume(); n != 1 {
			t.Fatalf("%d resumed", n)
		}
		accept(t, m, "old", Accepted)
		if d := w.attempts("TOKEN-old"); len(d) != 2 || d[0].client != d[1].client {
			t.Errorf("%+v", d)
		}
	})
}

func TestTwoDaemonsDoNotShareAStateDirectory(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		first := w.manager()
		if _, err := first.Resume(); err != nil {
			t.Fatal(err)
		}
		second := w.manager()
		_, err := second.Resume()
		if !errors.Is(err, ErrShared) || !strings.Contains(hint.Of(err), "tunnel.state_dir") {
			t.Errorf("%v, %q", err, hint.Of(err))
		}
		w.close(first)
		third := w.manager()
		if _, err := third.Resume(); err != nil {
			t.Errorf("after the first has ended: %v", err)
		}
	})
}

func TestThePairOfAnotherThingIsLeftAlone(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		named := func(name string) func(*Config) { return func(c *Config) { c.ThingName = name } }
		m := w.manager(named("pi-1"))
		accept(t, m, "a", Accepted)
		w.close(m)
		m = w.manager(named("pi-2"))
		if n, err := m.Resume(); err != nil || n != 0 {
			t.Errorf("%d resumed, %v", n, err)
		}
		w.close(m)
		m = w.manager(named("pi-1"))
		if n, err := m.Resume(); err != nil || n != 1 {
			t.Errorf("%d resumed by its own thing, %v", n, err)
		}
	})
}

func TestAClockThatWasWrongAtTheNotificationDoesNotEndTheTunnelAtTheNextStart(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		// A device without a battery-backed clock: the notification came in the year 2000 by its clock,
		// time was set since, and the monotonic clock knows how long ago that was.
		p := testPair("a")
		p.received = time.Now()
		cfg := w.config()
		st := newStore(w.dir, "", osFiles{}, cfg.Logger)
		s := newSession(p, false, "wss://example.com", &cfg, st, &journal{log: cfg.Logger}, cfg.Logger)
		<-s.save()
		s.pair.received = s.pair.received.AddDate(-26, 0, 0) // what the file says
		pass(time.Hour)
		if !s.clockWasSet() {
			t.Fatal("the step of the clock goes unnoticed")
		}
		s.keepWorked()
		pass(0)
		got := st.load(time.Now())
		if len(got) != 1 || !got[0].received.Equal(p.received) || !got[0].worked {
			t.Errorf("the file says %v, want %v", got, p.received)
		}
	})
}

// A bubble has no monotonic clock.
func TestAClockThatIsBehindAtTheStartLeavesTheStampAsItIs(t *testing.T) {
	// A device without a battery-backed clock starts in the past. A stamp by elapsed time would be as far in the future
	// after time is set, on disk too, and status would show an age of 0s until the next restart.
	for behind, byElapsedTime := range map[time.Duration]bool{time.Hour: false, -time.Hour: true} {
		p := testPair("a")
		p.received = time.Now().Add(behind).Round(0)
		cfg := Config{Logger: slog.New(slog.DiscardHandler)}
		s := newSession(p, true, "wss://example.com", &cfg, newStore(t.TempDir(), "", osFiles{}, cfg.Logger), &journal{log: cfg.Logger}, cfg.Logger)
		if got := s.received != s.received.Round(0); got != byElapsedTime {
			t.Errorf("clock behind by %v: by elapsed time: %v", behind, got)
		}
		if got := s.snapshot().Received; got.Sub(p.received).Abs() > time.Minute || s.clockWasSet() {
			t.Errorf("clock behind by %v: received %v, want %v", behind, got, p.received)
		}
	}
}

func TestAPairFromTheFutureLivesTwelveHours(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := testPair("a")
		p.received = time.Now().AddDate(1, 0, 0) // the clock has gone back since
		st := newStore(w.dir, "", osFiles{}, w.config().Logger)
		<-st.save(p)
		m := w.manager()
		if n, _ := m.Resume(); n != 1 {
			t.Fatal("not resumed")
		}
		pass(MaxAge - time.Second)
		if got := find(t, m, "a").State; got != Connected {
			t.Errorf("%s too early", got)
		}
		pass(time.Second)
		if got := find(t, m, "a").State; got != Ended {
			t.Errorf("still %s", got)
		}
	})
}

func FuzzStateFile(f *testing.F) {
	good, err := testPair("a").encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"access_token":"x","client_token":"` + secret.New("x").ID() + `"}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := decodePair(data); err == nil {
			again, err := p.encode()
			if err != nil {
				t.Skip() // a year that JSON cannot hold
			}
			q, err := decodePair(again)
			if err != nil || q.key() != p.key() || q.client != p.client || !q.received.Equal(p.received) {
				t.Fatalf("%v: %s became %s", err, data, again)
			}
		}
		e := newSpentTokens()
		if e.decode(data, time.Unix(1e9, 0)) == nil && len(e.until) > maxSpent {
			t.Fatalf("%d tokens", len(e.until))
		}
	})
}
