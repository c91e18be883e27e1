package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// rotation is one way in which a rotation and something else can meet. Each is played with both answers to what the
// documents leave open: whether the service ends the websocket of a token that was rotated away.
type rotation struct {
	name      string
	behaviour tunnels.Behaviour
	news      sandbox.Notifications
	// play does it, and returns the token that counts in the end.
	play  func(b *bed, keeps bool) (token string)
	limit time.Duration // 0: once
	// lingers: the old session needs longer than the test to see that it is over.
	lingers bool
}

func rotations() []rotation {
	destination := func(b *bed) string { return b.rotate(tunnels.RotateDestination) }
	slow := func(b *bed, d time.Duration) {
		b.box.Relay.Faults().Set(destinationSide, relay.Conditions{SlowHandshake: d})
	}
	return []rotation{
		{name: "one", play: func(b *bed, _ bool) string { return destination(b) }},
		{name: "three at once", play: func(b *bed, _ bool) string {
			destination(b)
			destination(b)
			return destination(b)
		}},
		{name: "a second when the first is connected", play: func(b *bed, _ bool) string {
			first := destination(b)
			b.device.waitLog(b.t, "tunnel connected "+sessionOf(first), once)
			return destination(b)
		}},
		{name: "while a lost link waits for its next attempt", play: func(b *bed, _ bool) string {
			mark := b.device.mark()
			b.box.Relay.Faults().Refuse(destinationSide, relay.Refusal{Count: 2})
			cut(b)
			b.device.waitLogFrom(b.t, mark, "tunnel not connected", once)
			return destination(b)
		}},
		{name: "while a lost link's handshake is under way", play: func(b *bed, _ bool) string {
			attempts := b.handshakes(b.tunnel.DestinationToken)
			slow(b, time.Second)
			cut(b)
			b.until(once, "the next handshake has begun", func() bool { return b.handshakes(b.tunnel.DestinationToken) > attempts })
			return destination(b)
		}},
		{name: "while the new token's first handshake is under way", play: func(b *bed, _ bool) string {
			slow(b, time.Second)
			first := destination(b)
			b.device.waitLog(b.t, "tunnel accepted "+sessionOf(first), once)
			return destination(b)
		}},
		{name: "while the first handshake's answer is lost", play: func(b *bed, _ bool) string {
			b.box.Relay.Faults().LoseAnswers(destinationSide, 1)
			return destination(b)
		}},
		{name: "while no packet passes for 2 s", play: func(b *bed, _ bool) string {
			wireOf(b).drop(true)
			token := destination(b)
			waits(2 * time.Second)
			wireOf(b).drop(false)
			return token
		}},
		{name: "the device is half-open on the old connection", play: func(b *bed, _ bool) string {
			wireOf(b).strand(false)
			return destination(b)
		}, lingers: true},
		{name: "the broker is away", play: func(b *bed, _ bool) string {
			mark := b.device.mark()
			b.box.Broker.Stop()
			b.device.waitLogFrom(b.t, mark, "mqtt connection", once)
			token := destination(b)
			returns(b.t, b.box.Broker)
			return token
		}, limit: 60 * time.Second},
		{name: "the notification comes 1 s late", news: sandbox.Notifications{Delay: time.Second}, play: func(b *bed, _ bool) string { return destination(b) }},
		{name: "the notification comes twice", news: sandbox.Notifications{Repeat: true, RepeatAfter: 300 * time.Millisecond}, play: func(b *bed, _ bool) string { return destination(b) }},
		{name: "the notification is lost, the next one is not", play: func(b *bed, keeps bool) string {
			b.box.SetNotifications(sandbox.Notifications{Lose: 1})
			old := b.tunnel.DestinationToken
			mark := b.device.mark()
			destination(b)
			if keeps {
				if !b.works() || b.traffic.stands() != standingConnections {
					b.t.Error("the old connection stands, and yet nothing works")
				}
			} else {
				b.device.waitLogFrom(b.t, mark, "tunnel ended "+sessionOf(old), once)
			}
			return destination(b)
		}},
		{name: "the old token can be used for 3 s more", behaviour: tunnels.Behaviour{OldTokenWorks: 3 * time.Second}, play: func(b *bed, _ bool) string { return destination(b) }},
		{name: "of the source", play: func(b *bed, keeps bool) string {
			b.rotate(tunnels.RotateSource)
			if keeps { // nothing tells the operator's side
				b.box.Relay.Faults().Cut(sourceSide)
			}
			return b.tunnel.DestinationToken
		}},
		{name: "of both sides", play: func(b *bed, keeps bool) string {
			token := b.rotate(tunnels.RotateAll)
			if keeps {
				b.box.Relay.Faults().Cut(sourceSide)
			}
			return token
		}},
	}
}

func TestRotationsThatMeetSomethingElse(t *testing.T) {
	t.Parallel()
	for _, r := range rotations() {
		for _, keeps := range []bool{false, true} {
			ends := map[bool]string{false: "the service ends the old connection", true: "the service leaves the old connection"}[keeps]
			t.Run(r.name+", "+ends, func(t *testing.T) {
				t.Parallel()
				r.behaviour.RotationKeepsConnection = keeps
				b := startBed(t, bedOptions{endpoint: cable, sandbox: sandbox.Config{
					Behaviour: r.behaviour, Listen: ownLoopback(), Names: []string{"127.0.0.1"}, // the broker's port is given up and taken again
				}})
				b.box.SetNotifications(r.news)
				mark := b.device.mark()
				b.traffic.fault()
				token := r.play(b, keeps)
				b.box.Relay.Faults().Clear()
				start := time.Now()
				if token != b.tunnel.DestinationToken {
					b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(token), max(r.limit, once))
				}
				b.back(max(r.limit, once))
				t.Logf("time back: %v", time.Since(start).Round(time.Millisecond))
				if !r.lingers {
					b.until(30*time.Second, "one session is left, the newest token's", func() bool { return onlySession(b, token) })
					b.back(once)
				}
				b.traffic.healed()
				eventually(t, 20*time.Second, "connections that stood end for the client too", func() bool { return b.traffic.stands() == 0 })
				b.traffic.stop(t)
				if log := b.device.log()[mark:]; strings.Contains(log, "tunnel ended "+sessionOf(token)) || strings.Contains(log, "ERROR") {
					t.Error("the newest token's session has ended, or something is an error")
				}
				if token == b.tunnel.DestinationToken && strings.Contains(b.device.log()[mark:], "tunnel lost") {
					t.Error("the device's websocket is none of the source's business")
				}
			})
		}
	}
}

// onlySession reports whether a token's session is connected and no other is alive.
func onlySession(b *bed, token string) bool {
	b.t.Helper()
	s := b.status()
	if s.Limits.Tunnels != 1 {
		return false
	}
	for _, one := range s.Tunnels {
		if one.Session == secret.New(token).ID() {
			return one.State == session.Connected
		}
	}
	return false
}

// If a service never revoked an old token, the two sessions would displace each other. They must not do so ever
// faster: the attempts become rare, and one session always serves.
func TestAnOldTokenThatWorksForEverCausesNoStorm(t *testing.T) {
	t.Parallel()
	b := startBed(t, bedOptions{sandbox: sandbox.Config{Behaviour: tunnels.Behaviour{OldTokenWorks: time.Hour}}})
	b.traffic.stop(t)
	token := b.rotate(tunnels.RotateDestination)
	b.device.waitLog(t, "tunnel connected "+sessionOf(token), once)
	const watched = 8 * time.Second
	waits(watched)
	n := b.handshakes(b.tunnel.DestinationToken) - 1 + b.handshakes(token)
	t.Logf("%d handshakes in %v", n, watched)
	if n > 24 {
		t.Errorf("%d handshakes in %v", n, watched)
	}
	b.back(20 * time.Second)
}
