package wsconn

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
)

// FuzzAnswer: whatever a server answers to the handshake, the error is fit for a log line and gives
// no token away.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\nX-Status-Reason: Tunnel is closed\r\nRetry-After: 5\r\n\r\n" + accessToken))
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: /\r\nchannel-id: \x1b[2J\r\n\r\n"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := Dial(t.Context(), testConfig(pipeDialer(answer(string(text)))))
		if err == nil {
			t.Fatal("an answer that knows no key was accepted")
		}
		if strings.Contains(err.Error(), accessToken) || strings.Contains(err.Error(), clientToken) {
			t.Errorf("the error gives a token away: %v", err)
		}
		var refused *HandshakeError
		if !errors.As(err, &refused) {
			return
		}
		if refused.RetryAfter < 0 || refused.RetryAfter > maxRetryAfter || len(refused.Body) > maxBody {
			t.Errorf("out of bounds: %+v", refused)
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not printable: %q", err)
		}
	})
}

// FuzzRead: whatever a server sends after the handshake, Read ends with an error and never panics.
func FuzzRead(f *testing.F) {
	f.Add(append(binaryFrame("data"), frame{opClose, true, closePayload(1000, "over")}.bytes()...))
	f.Add(append(frame{opBinary, false, "da"}.bytes(), frame{opContinuation, true, "ta"}.bytes()...))
	f.Add(frame{opPing, true, "x"}.bytes())
	f.Add(frame{opText, true, "x"}.bytes())
	f.Add([]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, p := open(t, nil)
		answers := p.script(true, sent)
		if _, err := io.Copy(io.Discard, onlyReader{c}); err == nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("error = %v", err)
		}
		for range answers { // until the client is gone
		}
	})
}
