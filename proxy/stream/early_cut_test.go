package stream

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// A client uploads faster than its target takes, and the websocket is lost before the destination has confirmed any of
// what went out in plain form. The target gets every byte, whether or not the lost websocket still delivers what is on
// its way.
func TestAnUploadIsResumedBeforeItsFirstConfirmation(t *testing.T) {
	const (
		size   = 700_000 // more than the destination reads and the websocket holds
		halted = 300_000 // the destination has not read so much when its target halts it
	)
	for name, delivered := range map[string]int{"what is on its way is lost": halted, "what is on its way arrives": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upload := noise(size, 1)
				target, heard, _ := newOneWay()
				r := newRig(t, func() (net.Conn, error) { return target, nil })
				r.link(delivered, -1)
				r.ends[0].out.stop(true) // HELLO waits
				local, _, says := newOneWay()
				if err := r.source.Open("X", local); err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = says.Write(upload) }()
				synctest.Wait()
				r.ends[0].out.stop(false)
				synctest.Wait() // HELLO has come, and the mark waits behind the upload
				r.cut()
				r.link(-1, -1)
				got := make([]byte, size)
				synctest.Wait()
				if s := r.near.Stats(); s.Resumed != 1 {
					t.Fatalf("%d connections were resumed", s.Resumed)
				}
				if n, err := io.ReadFull(heard, got); err != nil {
					t.Fatalf("the target heard %d bytes of %d: %v", n, size, err)
				}
				if !bytes.Equal(got, upload) {
					t.Error("the upload arrived changed")
				}
			})
		})
	}
}
