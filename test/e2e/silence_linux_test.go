package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// How soon the daemon gives up a dead link: pings leave every 20 s, and a pong may be 20 s late; before the first
// stream, and without pongs, TCP gives up after 60 s without an acknowledgement.
const (
	noticedLive = 45 * time.Second
	noticedIdle = 90 * time.Second
)

// silence is a way in which a link can die without a word.
type silence struct {
	name    string
	long    bool // more than CI has time for
	bed     bedOptions
	begin   func(b *bed)
	end     func(b *bed)
	noticed time.Duration // 0: never, as nothing is wrong
	limit   time.Duration // for a new connection, from the end on
}

func silences() []silence {
	hole := func(b *bed) { wireOf(b).drop(true) }
	heal := func(b *bed) { wireOf(b).drop(false) }
	nothing := func(*bed) {}
	clear := func(b *bed) { b.box.Relay.Faults().Clear() }
	return []silence{
		{name: "packets are dropped while streams live", bed: bedOptions{endpoint: cable}, begin: hole, end: heal, noticed: noticedLive, limit: time.Minute},
		{name: "packets of one connection are dropped, half-open", bed: bedOptions{endpoint: cable}, begin: func(b *bed) { wireOf(b).strand(false) }, end: nothing, noticed: noticedLive, limit: once},
		{name: "packets are dropped before the first stream", long: true, bed: bedOptions{endpoint: cable, silent: true}, begin: hole, end: heal, noticed: noticedIdle, limit: time.Minute},
		{name: "packets are dropped when streams have ended", long: true, bed: bedOptions{endpoint: cable}, begin: func(b *bed) { b.traffic.stop(b.t); b.idle(); hole(b) }, end: heal, noticed: noticedLive, limit: time.Minute},
		{
			name: "the service's machine takes everything and says nothing", long: true,
			begin: func(b *bed) { b.box.Relay.Faults().Set(destinationSide, relay.Conditions{BlackHole: true}) }, end: clear, noticed: noticedLive, limit: time.Minute,
		},
		{
			name: "pongs never come while streams move", long: true,
			begin: func(b *bed) { b.box.Relay.Faults().Set(destinationSide, relay.Conditions{WithholdPongs: true}) }, end: clear,
		},
		{
			name: "pongs never come and nothing moves", long: true,
			begin: func(b *bed) {
				b.traffic.stop(b.t)
				b.idle()
				b.box.Relay.Faults().Set(destinationSide, relay.Conditions{WithholdPongs: true})
			},
			end: clear, noticed: noticedLive, limit: once,
		},
		{
			name: "the service holds on to the dead connection and refuses the pair", long: true,
			bed: bedOptions{endpoint: cable, sandbox: sandbox.Config{
				Behaviour: tunnels.Behaviour{SamePairWaits: true, RefusalStatus: 409}, Relay: relay.Config{IdleTimeout: 30 * time.Second},
			}},
			begin: func(b *bed) { wireOf(b).end(false) }, end: nothing, noticed: once, limit: 90 * time.Second,
		},
	}
}

// TestALinkThatDiesWithoutAWord mostly waits.
func TestALinkThatDiesWithoutAWord(t *testing.T) {
	t.Parallel()
	for _, s := range silences() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.long && os.Getenv("CULVERT_ENDURANCE") == "" {
				t.Skip("make endurance runs it")
			}
			b := startBed(t, s.bed)
			s.play(b)
		})
	}
}

func (s silence) play(b *bed) {
	b.t.Helper()
	if s.noticed == 0 {
		s.begin(b)
		waits(noticedLive)
		s.end(b)
		b.traffic.stop(b.t) // which finds no fault that excuses anything
		return
	}
	mark := b.device.mark()
	b.traffic.fault()
	s.begin(b)
	start := time.Now()
	line := b.device.waitLogFrom(b.t, mark, "tunnel lost", s.noticed)
	b.t.Logf("noticed after %v: %s", time.Since(start).Round(time.Millisecond), line)
	s.end(b)
	b.t.Logf("time back: %v", b.back(s.limit))
	eventually(b.t, 20*time.Second, "connections that stood end for the client too", func() bool { return b.traffic.stands() == 0 })
	b.traffic.healed()
	b.traffic.stop(b.t)
}
