package wsconn

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// script writes raw bytes to the client from a goroutine and takes what it answers. When all is
// written, it closes the connection if hangUp is set.
func (p *peer) script(hangUp bool, parts ...[]byte) <-chan frame {
	frames := p.frames()
	go func() {
		for _, b := range parts {
			if _, err := p.Write(b); err != nil {
				return
			}
		}
		if hangUp {
			_ = p.Close()
		}
	}()
	return frames
}

func binaryFrame(payload string) []byte {
	return frame{Op: opBinary, Fin: true, Payload: payload}.bytes()
}

func TestReadIsOneStreamAcrossMessages(t *testing.T) {
	content := make([]byte, 300_000)
	_, _ = rand.Read(content)
	s := string(content)
	c, p := open(t, nil)
	p.script(false,
		binaryFrame(s[:1]),
		binaryFrame(""), // an empty message is legal
		binaryFrame(s[1:126]),
		frame{Op: opBinary, Payload: s[126:1000]}.bytes(), // one message in three frames, a ping between
		frame{Op: opPing, Fin: true, Payload: "between"}.bytes(),
		frame{Op: opContinuation, Payload: ""}.bytes(),
		frame{Op: opContinuation, Fin: true, Payload: s[1000:70_000]}.bytes(),
		binaryFrame(s[70_000:70_000+MaxMessage]), // the largest allowed
		binaryFrame(s[70_000+MaxMessage:]),
	)
	got := make([]byte, len(content))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Error("the stream differs from what was sent")
	}
}

func TestReadNeverReturnsNothingWithoutAnError(t *testing.T) {
	c, p := open(t, nil)
	p.script(true, binaryFrame(""), frame{Op: opBinary}.bytes(), frame{Op: opContinuation, Fin: true}.bytes(), binaryFrame("x"))
	buf := make([]byte, 10)
	for want := 1; ; want = 0 {
		n, err := c.Read(buf)
		if n != want || (n == 0) != (err != nil) {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if err != nil {
			break
		}
	}
	if n, err := c.Read(nil); n != 0 || err == nil {
		t.Errorf("Read of nothing after the end = %d, %v", n, err)
	}
}

func TestHowAConnectionEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sent   [][]byte
		hangUp bool
		want   error  // matched by errors.Is, or as *CloseError
		text   string // of the error
		answer frame  // the client's last frame
	}{
		{
			"close with code and reason",
			[][]byte{frame{opClose, true, closePayload(1008, "Tunnel is closed")}.bytes()},
			false,
			&CloseError{1008, "Tunnel is closed"},
			"the tunnel service closed the websocket with code 1008: Tunnel is closed",
			frame{opClose, true, closePayload(1008, "")},
		},
		{
			"close with a code alone",
			[][]byte{frame{opClose, true, closePayload(1012, "")}.bytes()},
			false,
			&CloseError{1012, ""},
			"the tunnel service closed the websocket with code 1012",
			frame{opClose, true, closePayload(1012, "")},
		},
		{
			"close without a code",
			[][]byte{frame{opClose, true, ""}.bytes()},
			false,
			&CloseError{1005, ""},
			"the tunnel service closed the websocket",
			frame{opClose, true, ""},
		},
		{
			"close with a reason for the terminal",
			[][]byte{frame{opClose, true, closePayload(4000, "a\x1b[31m\nb")}.bytes()},
			false,
			&CloseError{4000, "a [31m b"},
			"the tunnel service closed the websocket with code 4000: a [31m b",
			frame{opClose, true, closePayload(4000, "")},
		},
		{
			"close after data",
			[][]byte{binaryFrame("data"), frame{opClose, true, closePayload(1000, "")}.bytes()},
			false,
			&CloseError{1000, ""},
			"the tunnel service closed the websocket with code 1000",
			frame{opClose, true, closePayload(1000, "")},
		},
		{
			"TCP ends between two messages",
			[][]byte{binaryFrame("data")},
			true,
			io.ErrUnexpectedEOF,
			"the tunnel service ended the connection without a close frame: unexpected EOF",
			frame{},
		},
		{
			"TCP ends in a frame's header",
			[][]byte{binaryFrame("data")[:1]},
			true,
			io.ErrUnexpectedEOF,
			"the tunnel service ended the connection without a close frame: unexpected EOF",
			frame{},
		},
		{
			"TCP ends within a message",
			[][]byte{binaryFrame("data")[:4]},
			true,
			io.ErrUnexpectedEOF,
			"the tunnel service ended the connection without a close frame: unexpected EOF",
			frame{},
		},
		{
			"text message",
			[][]byte{frame{opText, true, "hello"}.bytes()},
			false,
			ErrTextMessage,
			"the tunnel service sent a text message",
			frame{opClose, true, closePayload(1003, "binary messages only")},
		},
		{
			"message one byte too long",
			[][]byte{binaryFrame(strings.Repeat("x", MaxMessage+1))},
			false,
			ErrMessageTooBig,
			"websocket message is larger than 131076 bytes",
			frame{opClose, true, closePayload(1009, "")},
		},
		{
			"message of 2^63 bytes",
			[][]byte{{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}},
			false,
			ErrMessageTooBig,
			"websocket message is larger than 131076 bytes",
			frame{opClose, true, closePayload(1009, "")},
		},
		{
			"a frame that breaks the protocol",
			[][]byte{{0x83, 0}},
			false,
			nil,
			"reading from the tunnel service: websocket: bad opcode 3",
			frame{opClose, true, closePayload(1002, "bad opcode 3")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := open(t, nil)
			answers := p.script(tt.hangUp, tt.sent...)
			_, err := io.Copy(io.Discard, onlyReader{c})
			var closed, want *CloseError
			switch {
			case err == nil:
				t.Fatal("no error")
			case errors.As(tt.want, &want):
				if !errors.As(err, &closed) || *closed != *want {
					t.Errorf("error = %#v", err)
				}
			case tt.want != nil && !errors.Is(err, tt.want):
				t.Errorf("error = %v", err)
			}
			if err.Error() != tt.text {
				t.Errorf("text = %q\nwant   %q", err, tt.text)
			}
			// Sticky for the reader, however often it asks, and known to the writer.
			for range 2000 {
				if _, again := c.Read(make([]byte, 1)); !errors.Is(again, err) {
					t.Fatalf("the next Read = %v", again)
				}
			}
			if werr := c.WriteBuffers([]byte("x")); !errors.Is(werr, err) {
				t.Errorf("WriteBuffers = %v", werr)
			}
			var last frame
			for f := range answers {
				last = f
			}
			if diff := cmp.Diff(tt.answer, last); diff != "" {
				t.Error("the client's last frame:", diff)
			}
		})
	}
}

type onlyReader struct{ io.Reader }

func TestAMessageOfManyFramesMayBeLongerThanAFrame(t *testing.T) {
	c, p := open(t, nil)
	part := strings.Repeat("x", MaxMessage)
	p.script(true, frame{opBinary, false, part}.bytes(), frame{opContinuation, false, part}.bytes(), frame{opContinuation, true, "y"}.bytes())
	got, err := io.ReadAll(onlyReader{c})
	if string(got) != part+part+"y" {
		t.Errorf("%d bytes arrived before %v, want %d", len(got), err, 2*MaxMessage+1)
	}
}
