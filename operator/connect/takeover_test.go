package connect

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// Two operators who find a tunnel at the same moment cannot both have it: the one whose token was rotated away leaves it to
// the other one, unless the user wants this very tunnel. For one that follows it, the user was not asked.
func TestConsentToTakeOverEndsWithTheFirstTunnel(t *testing.T) {
	for name, later := range map[string]bool{"the first tunnel": false, "one that follows it": true} {
		t.Run(name, func(t *testing.T) {
			api := &scripted{tunnels: []*types.Tunnel{aTunnel("a")}}
			cfg := checked(t, Config{API: api, TakeOver: true})
			find := &finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}, skip: map[string]bool{}}
			if later {
				find.Config = cfg.withoutTakeOver()
			}
			found, err := find.find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			before := len(api.asked())
			err = newSession(&cfg, found).renew(t.Context(), newClaim(found), &proxy.HandshakeError{Status: http.StatusBadRequest})
			e, ok := errors.AsType[*Error](err)
			if taken := ok && e.Reason == TakenOver; taken != later {
				t.Errorf("after a refusal: %v; left to the other operator: %v, want %v", err, taken, later)
			}
			want := []string{"describe a", "rotate a SOURCE", "describe a"}
			if later {
				want = nil
			}
			if d := cmp.Diff(want, append([]string(nil), api.asked()[before:]...)); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		})
	}
}
