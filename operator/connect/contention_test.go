package connect_test

import (
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestManyAtOnceTakeNothingFromEachOther starts several operators at the same moment, where there is one tunnel that all
// of them find, and where there is none: each gets one for itself and keeps it.
func TestManyAtOnceTakeNothingFromEachOther(t *testing.T) {
	const operators, rounds = 4, 3
	for name, behaviour := range map[string]tunnels.Behaviour{
		"a rotation ends a connection": {}, "a rotated token's connection stands": {RotationKeepsConnection: true},
	} {
		for _, open := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", one tunnel is open"}[open], func(t *testing.T) {
				t.Parallel()
				c := newCloudThat(t, sandbox.Config{Behaviour: behaviour}, culvertDevice(echo))
				for range rounds {
					if open {
						c.leaveTunnel(t)
					}
					var all sync.WaitGroup
					got := make([]*connect.Tunnel, operators)
					for i := range got {
						all.Go(func() {
							tunnel, err := connect.Open(within(t, 30*time.Second), c.config(), "pi-1", "SSH")
							if err != nil {
								t.Errorf("operator %d: %v", i, err)
								return
							}
							got[i] = tunnel
							conn, err := tunnel.Dial(within(t, 30*time.Second), "SSH")
							if err != nil {
								t.Errorf("operator %d: %v", i, err)
								return
							}
							defer conn.Close()
							if err := says(conn, "hello"); err != nil {
								t.Errorf("operator %d: %v", i, err)
							}
						})
					}
					all.Wait()
					ids := map[string]int{}
					for i, tunnel := range got {
						if tunnel == nil {
							continue
						}
						if other, twice := ids[tunnel.ID()]; twice {
							t.Errorf("operators %d and %d have the same tunnel", other, i)
						}
						ids[tunnel.ID()] = i
						select {
						case <-tunnel.Done():
							t.Errorf("operator %d lost its tunnel: %v", i, tunnel.Err())
						default:
						}
						_ = tunnel.Close()
					}
					for _, id := range c.open() {
						_ = c.Store.Close(id, true)
					}
				}
			})
		}
	}
}
