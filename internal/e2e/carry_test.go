package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

// bothWays sends size pseudo-random bytes over c while the far side sends as many of another seed, and
// returns once both are checked. farSide does the mirror image.
func bothWays(c net.Conn, size int64, out, in uint64) error {
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() { _, sent = io.CopyN(c, random(out), size) })
	got, want := sha256.New(), sha256.New()
	_, err := io.CopyN(got, c, size)
	wg.Wait()
	if sent != nil {
		return fmt.Errorf("send: %w", sent)
	}
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if _, err := io.CopyN(want, random(in), size); err != nil {
		return err
	}
	if string(got.Sum(nil)) != string(want.Sum(nil)) {
		return fmt.Errorf("%d bytes arrived changed", size)
	}
	return nil
}

// random is an endless reader of the same bytes for the same seed.
func random(seed uint64) io.Reader {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	return rand.NewChaCha8(key)
}

func TestEverySourceGetsEveryByteThroughAnAwkwardRelay(t *testing.T) {
	const size = 64 << 20
	for _, form := range []proxy.Form{proxy.V1, proxy.V2, proxy.V3} {
		t.Run(form.String(), func(t *testing.T) {
			target := server(t, func(c net.Conn) {
				if err := bothWays(c, size, 2, 1); err != nil {
					t.Errorf("device's side: %v", err)
				}
				_, _ = io.Copy(io.Discard, c)
			})
			c := newChain(t, form, relay.Awkward, []string{"BULK"}, dialTo(target))
			local := c.open(t, "BULK")
			if err := bothWays(local, size, 1, 2); err != nil {
				t.Errorf("operator's side: %v", err)
			}
			_ = local.Close()
		})
	}
}

func TestHundredConnectionsToEachOfThreeServices(t *testing.T) {
	const connections, size = 100, 256 << 10
	services := []string{"SSH", "HTTP", "APP"}
	// Each service answers with bytes of its own, so that one delivered to another's client is seen.
	addresses := map[string]string{}
	for i, name := range services {
		addresses[name] = server(t, func(c net.Conn) {
			var id [1]byte
			if _, err := io.ReadFull(c, id[:]); err != nil {
				return
			}
			if err := bothWays(c, size, uint64(1000*(i+1))+uint64(id[0]), uint64(id[0])); err != nil {
				t.Errorf("%s connection %d, device's side: %v", name, id[0], err)
			}
			_, _ = io.Copy(io.Discard, c)
		})
	}
	c := newChain(t, proxy.V3, relay.Awkward, services, func(ctx context.Context, service string) (net.Conn, error) {
		return dialTo(addresses[service])(ctx, service)
	})
	var all sync.WaitGroup
	for i, name := range services {
		for id := range connections {
			local := c.open(t, name)
			all.Go(func() {
				defer local.Close()
				if _, err := local.Write([]byte{byte(id)}); err != nil {
					t.Error(err)
					return
				}
				if err := bothWays(local, size, uint64(id), uint64(1000*(i+1)+id)); err != nil {
					t.Errorf("%s connection %d, operator's side: %v", name, id, err)
				}
			})
		}
	}
	all.Wait()
}
