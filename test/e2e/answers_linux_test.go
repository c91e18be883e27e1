package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// What AWS's documents leave open is played here with both answers, as far as no other test does: the daemon must be
// right under each.

// A notification that comes while the device is away is kept for it, or it is lost and the next rotation brings the
// tunnel.
func TestNotificationsThatAreKeptOrNot(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("kept %v", kept), func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{sandbox: sandbox.Config{Notifications: sandbox.Notifications{QoS0: !kept}}})
			b.traffic.stop(t)
			b.device.stop(t)
			missed := openTunnel(t, b.box, b.device, "ECHO")
			b.restart()
			b.device.hide(missed.DestinationToken, missed.SourceToken)
			b.device.waitLog(t, "tunnel connected "+sessionOf(b.tunnel.DestinationToken), once)
			token := missed.DestinationToken
			if !kept {
				b.device.waitLog(t, "mqtt subscribed", 20*time.Second)
				token = rotate(t, b.box, b.device, missed, "ECHO")
			}
			b.device.waitLog(t, "tunnel connected "+sessionOf(token), 20*time.Second)
			b.back(once)
		})
	}
}

// Rotating the destination without naming thing and services may tell the device or not.
func TestARotationThatNamesNoThing(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		for _, keeps := range []bool{true, false} {
			t.Run(fmt.Sprintf("the device is told %v, the old connection stands %v", told, keeps), func(t *testing.T) {
				t.Parallel()
				b := startBed(t, bedOptions{sandbox: sandbox.Config{
					Behaviour: tunnels.Behaviour{RotationNotifiesWithoutConfig: told, RotationKeepsConnection: keeps},
				}})
				mark := b.device.mark()
				b.traffic.fault()
				r, err := b.box.Store.Rotate(b.tunnel.Tunnel.ID, tunnels.RotateDestination, nil)
				if err != nil {
					t.Fatal(err)
				}
				token := r.DestinationToken
				b.device.hide(token)
				switch {
				case told:
				case keeps:
					if !b.works() || b.traffic.stands() != standingConnections {
						t.Error("the old connection stands, and yet nothing works")
					}
					fallthrough
				default:
					if !keeps {
						b.device.waitLogFrom(t, mark, "tunnel ended "+sessionOf(b.tunnel.DestinationToken), once)
					}
					token = b.rotate(tunnels.RotateDestination)
				}
				b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(token), once)
				b.back(once)
				b.until(30*time.Second, "one session is left, the newest token's", func() bool { return onlySession(b, token) })
				b.traffic.healed()
				b.traffic.stop(t)
			})
		}
	}
}

// How the end of a tunnel, or of a token, looks on the websocket.
func TestHoweverTheServiceEndsAConnection(t *testing.T) {
	t.Parallel()
	for _, ending := range []relay.Ending{
		{Code: 1000}, {Code: 1001, Reason: "bye"}, {Code: 1008, Reason: "Token is revoked"}, {Code: 1011}, {Code: 1012, Reason: "Tunnel is closed"}, {Code: 4000}, {}, {Bare: true},
	} {
		t.Run(fmt.Sprintf("%+v", ending), func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{sandbox: sandbox.Config{
				Behaviour: tunnels.Behaviour{ClientTokenSurvivesRotation: ending.Code == 1000}, // of no interest to who never uses one again
				Relay:     relay.Config{Endings: []relay.Ending{ending}},
			}})
			b.traffic.fault()
			mark := b.device.mark()
			token := b.rotate(tunnels.RotateDestination)
			b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(token), once)
			t.Logf("time back after a rotation: %v", b.back(once))
			b.traffic.healed()
			b.traffic.moves(t)
			b.traffic.abandon()
			if err := b.box.Store.Close(b.tunnel.Tunnel.ID, false); err != nil {
				t.Fatal(err)
			}
			line := b.device.waitLogFrom(t, mark, "tunnel ended "+sessionOf(token), once)
			if !strings.Contains(line, "INFO") || !strings.Contains(line, "closed") {
				t.Errorf("the end of a closed tunnel is not explained, or is an alarm: %s", line)
			}
		})
	}
}

// How a refusal looks: a token that is of no use ends its session at the first answer.
func TestHoweverTheServiceRefuses(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]tunnels.Behaviour{
		"400 with a body": {}, "403 with a body": {RefusalStatus: 403}, "404 without a word": {RefusalStatus: 404, RefusalWithoutBody: true},
		"410 with a header": {RefusalStatus: 410, RefusalWithoutBody: true, RefusalReasonHeader: true},
		"401 with both":     {RefusalStatus: 401, RefusalReasonHeader: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{sandbox: sandbox.Config{Behaviour: behaviour}})
			b.box.SetNotifications(sandbox.Notifications{Delay: 200 * time.Millisecond})
			stale := openTunnel(t, b.box, b.device, "ECHO")
			if err := b.box.Store.Close(stale.Tunnel.ID, false); err != nil {
				t.Fatal(err)
			}
			line := b.device.waitLog(t, "tunnel ended "+sessionOf(stale.DestinationToken), once)
			want := []string{"INFO", "rotate"}
			if !behaviour.RefusalWithoutBody {
				want = append(want, "The tunnel is closed.")
			}
			if behaviour.RefusalReasonHeader {
				want = append(want, "Tunnel is closed")
			}
			for _, w := range want {
				if !strings.Contains(line, w) {
					t.Errorf("no %q in: %s", w, line)
				}
			}
			if n := b.handshakes(stale.DestinationToken); n != 1 {
				t.Errorf("%d handshakes with a token of no use", n)
			}
			b.traffic.stop(t) // of the tunnel beside it, which never noticed
		})
	}
}

// A rotation that names other services may change the tunnel's, or only the notification.
func TestARotationThatNamesOtherServices(t *testing.T) {
	t.Parallel()
	for _, changes := range []bool{true, false} {
		t.Run(fmt.Sprintf("they become the tunnel's %v", changes), func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{silent: true, sandbox: sandbox.Config{Behaviour: tunnels.Behaviour{RotationChangesServices: changes}}})
			o := openTunnel(t, b.box, b.device, "ECHO")
			token := rotate(t, b.box, b.device, o, "DATA", "ECHO")
			b.device.waitLog(t, "tunnel connected "+sessionOf(token), once)
			source := startSource(t, b.box, o.SourceToken, proxy.V3)
			if got := slices.Contains(source.Services(), "DATA"); got != changes {
				t.Fatalf("the tunnel has the services %q", source.Services())
			}
			eventually(t, once, "the service that both lists have works", func() bool { return answers(source, "ECHO", time.Second) })
		})
	}
}

// The console's source names no service. The service of the tunnel may add its name, or not.
func TestASourceThatNamesNoService(t *testing.T) {
	t.Parallel()
	for _, adds := range []bool{true, false} {
		t.Run(fmt.Sprintf("the service adds it %v", adds), func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{silent: true, sandbox: sandbox.Config{Relay: relay.Config{AddServiceToV1: adds}}})
			o := openTunnel(t, b.box, b.device, "ECHO")
			b.device.waitLog(t, "tunnel connected "+sessionOf(o.DestinationToken), once)
			source := startSource(t, b.box, o.SourceToken, proxy.V1)
			eventually(t, once, "a V1 source is answered", func() bool { return answers(source, "", time.Second) })
			mark := b.device.mark()
			b.box.Relay.Faults().Cut(relay.Target{Tunnel: o.Tunnel.ID, Side: tunnels.Destination})
			b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(o.DestinationToken), once)
			eventually(t, once, "and again after a reset", func() bool { return answers(source, "", time.Second) })
		})
	}
}

// After a crash of the device the service may still hold the dead connection, and replace it or refuse the pair until
// it has noticed. A kernel that lives tells it at once, which is what happens here.
func TestACrashUnderBothAnswersToAPairThatComesAgain(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		t.Run(fmt.Sprintf("the pair has to wait %v", waits), func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{sandbox: sandbox.Config{Behaviour: tunnels.Behaviour{SamePairWaits: waits}}})
			b.traffic.fault()
			b.device.signal(t, syscall.SIGKILL)
			b.device.waitExit(t, stopLimit)
			b.restart()
			b.device.waitLog(t, "tunnel resumed "+sessionOf(b.tunnel.DestinationToken), once)
			t.Logf("time back: %v", b.back(20*time.Second))
			b.traffic.healed()
			b.traffic.stop(t)
		})
	}
}
