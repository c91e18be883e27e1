package wsconn

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAProbeFollowsItsMessage(t *testing.T) {
	c, p := open(t, nil)
	frames := p.frames()
	for _, send := range []func() error{
		func() error { return c.WriteProbe(7, []byte("a"), []byte("bc")) },
		func() error { return c.WriteProbe(0, []byte("d")) },
		func() error { return c.WriteProbe(8) },
		func() error { return c.WriteProbe(1<<64-1, bytes.Repeat([]byte("x"), MaxMessage)) },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	want := []frame{
		{opBinary, true, "abc"},
		{opPing, true, "07"},
		{opBinary, true, "d"},
		{opPing, true, "08"},
		{opBinary, true, string(bytes.Repeat([]byte("x"), MaxMessage))},
		{opPing, true, "018446744073709551615"},
	}
	for _, w := range want {
		if diff := cmp.Diff(w, <-frames); diff != "" {
			t.Error(diff[:min(len(diff), 300)])
		}
	}
}

func TestOnlyPongsOfProbesAreTold(t *testing.T) {
	c, p := open(t, nil)
	var got []uint64
	c.OnProbe(func(probe uint64) { got = append(got, probe) })
	for _, payload := range []string{"", "0", "1", "20", "03", "0x", "0-1", "keep", "0\x00", "00000000000000000000000001", "05", "0000"} {
		go func() { _, _ = p.Write(append(frame{opPong, true, payload}.bytes(), binaryFrame("x")...)) }()
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]uint64{3, 5}, got); diff != "" {
		t.Error(diff)
	}
}

// What comes in one piece with the handshake's answer is not lost, and is not read as part of it.
func TestWhatComesRightBehindTheHandshakeIsRead(t *testing.T) {
	c, err := Dial(t.Context(), testConfig(pipeDialer(func(p *peer) {
		if p.readRequest() != nil {
			return
		}
		_, _ = io.WriteString(p, p.upgrade("channel-id: channel-1")+string(binaryFrame("early"))+string(binaryFrame(" and more")))
		_, _ = io.Copy(io.Discard, p.Conn)
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(1000, "") }()
	got := make([]byte, len("early and more"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "early and more" {
		t.Errorf("%q, %v", got, err)
	}
}
