package connect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestEveryAnswerOfTheService takes a tunnel through its life where AWS's documents leave open what the service does:
// a tunnel is opened, found again, loses its link, loses its token, and is closed.
func TestEveryAnswerOfTheService(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]sandbox.Config{
		"a rotated token's websocket stands":        {Behaviour: tunnels.Behaviour{RotationKeepsConnection: true}},
		"a rotation always notifies":                {Behaviour: tunnels.Behaviour{RotationNotifiesWithoutConfig: true}},
		"a rotation's services become the tunnel's": {Behaviour: tunnels.Behaviour{RotationChangesServices: true}},
		"no rotation before the first connection":   {Behaviour: tunnels.Behaviour{RotateBeforeConnectFails: true}},
		"a client token survives a rotation":        {Behaviour: tunnels.Behaviour{ClientTokenSurvivesRotation: true}},
		"a pair waits for its old connection":       {Behaviour: tunnels.Behaviour{SamePairWaits: true, RotationKeepsConnection: true}},
		"refusals without a word":                   {Behaviour: tunnels.Behaviour{RefusalStatus: 403, RefusalWithoutBody: true}},
		"refusals with a header":                    {Behaviour: tunnels.Behaviour{RefusalStatus: 410, RefusalWithoutBody: true, RefusalReasonHeader: true}},
		"no close frame":                            {Relay: relay.Config{Endings: []relay.Ending{{Bare: true}}}},
		"close frames of one kind":                  {Relay: relay.Config{Endings: []relay.Ending{{Code: 1012, Reason: "bye"}}}},
		"pongs that never come":                     {Relay: relay.Config{Pongs: relay.PongsNever}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloudThat(t, cfg, culvertDevice(echo))
			config := c.config()
			config.Keep = true
			first := openTunnel(t, config, "SSH")
			talk(t, dial(t, first, "SSH"), "first")
			_ = first.Close()
			eventually(t, "the first one is gone", func() bool {
				d, err := c.Store.Describe(first.ID())
				return err == nil && d.SourceState.Status == tunnels.Disconnected
			})

			heard := &news{}
			config.Progress = heard.event
			second := openTunnel(t, config, "SSH")
			if second.ID() != first.ID() {
				t.Errorf("tunnel %s was opened, though %s was there:\n%s", second.ID(), first.ID(), heard)
			}
			cut := func() { // returns once this side has seen it
				conn := dial(t, second, "SSH")
				talk(t, conn, "before")
				c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
				if n, err := conn.Read(make([]byte, 1)); err == nil {
					t.Errorf("a connection outlived its link: %d bytes", n)
				}
			}
			cut()
			talk(t, dial(t, second, "SSH"), "after a cut")
			if strings.Contains(heard.String(), "rotating the source's token") {
				t.Errorf("the tokens were spent on a cut:\n%s", heard)
			}
			if _, err := c.Store.Rotate(second.ID(), tunnels.RotateSource, nil); err != nil {
				t.Fatal(err)
			}
			if cfg.Behaviour.RotationKeepsConnection {
				cut()
			}
			eventually(t, "a new token is made", func() bool { return strings.Contains(heard.String(), "rotating the source's token") })
			talk(t, dial(t, second, "SSH"), "with a new token")
			if err := c.Store.Close(second.ID(), false); err != nil {
				t.Fatal(err)
			}
			select {
			case <-second.Done():
			case <-time.After(20 * time.Second):
				t.Fatal("the tunnel's end was not noticed")
			}
			wantReason(t, second.Err(), connect.TunnelClosed)
		})
	}
}

// A tunnel that cannot be rotated is not the end.
func TestAnUnusedTunnelMayNotBeRotated(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{RotateBeforeConnectFails: fails}}, culvertDevice(echo))
		found, err := c.Store.Open(tunnels.OpenInput{}) // of no thing: passed over
		if err != nil {
			t.Fatal(err)
		}
		untouched, err := c.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}})
		if err != nil {
			t.Fatal(err)
		}
		config, heard := c.config(), &news{}
		config.Progress, config.TakeOver = heard.event, true // or it would be left alone for a while
		tunnel := openTunnel(t, config, "SSH")
		if tunnel.ID() == found.Tunnel.ID || tunnel.Opened() != fails && untouched.Tunnel.ID != tunnel.ID() {
			t.Errorf("it may%s be rotated, and tunnel %s was used:\n%s", map[bool]string{true: " not"}[fails], tunnel.ID(), heard)
		}
		talk(t, dial(t, tunnel, "SSH"), "hello")
	}
}
