package proxy

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/culvert-iot/culvert/proxy/stream"
)

// over is a websocket that has ended.
type over struct{}

func (over) Read([]byte) (int, error)     { return 0, io.EOF }
func (over) WriteBuffers(...[]byte) error { return io.ErrClosedPipe }
func (over) Close(int, string) error      { return nil }

// A caller of Open at the moment of a lost link must be able to tell it from a tunnel that never stood: the
// one is worth another try.
func TestOpenTellsALostTunnelFromOneThatNeverStood(t *testing.T) {
	lost, never := NewSource(SourceConfig{Form: V3}), NewSource(SourceConfig{Form: V3})
	lost.source = stream.NewSource(stream.SourceConfig{Config: stream.Config{Transport: over{}}, Form: V3})
	_ = lost.source.Serve()
	close(lost.ready)
	close(lost.ended)
	close(never.ended)
	local, client := net.Pipe()
	defer local.Close()
	defer client.Close()
	for range 200 { // which of two channels is looked at is left to chance
		if err := lost.Open(t.Context(), "SSH", local); !errors.Is(err, ErrEnded) {
			t.Fatalf("a tunnel that is lost: %v", err)
		}
		if err := never.Open(t.Context(), "SSH", local); !errors.Is(err, errNotConnected) || errors.Is(err, ErrEnded) {
			t.Fatalf("a tunnel that never stood: %v", err)
		}
	}
}
