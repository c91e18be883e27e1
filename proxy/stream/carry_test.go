package stream

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// exchange writes n random bytes to c in pieces of any size and checks that they come back.
func exchange(c net.Conn, n int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, seed))
	data := noise(n, seed)
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() {
		for b := data; len(b) > 0; {
			k := min(len(b), 1+r.IntN(200_000))
			if _, sent = c.Write(b[:k]); sent != nil {
				return
			}
			b = b[k:]
		}
	})
	got := sha256.New()
	_, err := io.CopyN(got, c, int64(n))
	wg.Wait()
	if err != nil || sent != nil {
		return fmt.Errorf("read: %w, write: %w", err, sent)
	}
	if want := sha256.Sum256(data); want != [32]byte(got.Sum(nil)) {
		return fmt.Errorf("%d bytes came back changed", n)
	}
	return nil
}

func TestManyConnectionsCarryTheirOwnBytes(t *testing.T) {
	t.Parallel()
	for network, sockets := range networks {
		for _, form := range []Form{V1, V2, V3} {
			t.Run(network+" "+form.String(), func(t *testing.T) {
				var targets sync.WaitGroup
				p := tunnel(t, form, func(string) (net.Conn, error) {
					a, b := sockets(t)
					targets.Go(func() { echo(b) })
					return a, nil
				})
				count, size := 12, 512<<10
				if !form.Connection {
					count, size = 3, 2<<20 // one connection a service
				}
				if !form.Service {
					count = 1
				}
				if raced {
					size /= 4
				}
				var clients sync.WaitGroup
				for i := range count {
					service := fmt.Sprintf("S%d", i%3)
					if !form.Service {
						service = ""
					}
					local, remote := sockets(t)
					if err := p.source.Open(service, remote); err != nil {
						t.Fatal(err)
					}
					clients.Go(func() {
						defer local.Close()
						if err := exchange(local, size, uint64(i)); err != nil {
							t.Errorf("connection %d to %q: %v", i, service, err)
						}
					})
				}
				clients.Wait()
				targets.Wait()
			})
		}
	}
}
