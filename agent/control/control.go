package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Command names what a request asks for.
type Command string

// The commands of a daemon.
const (
	Ping   Command = "ping"   // does a daemon answer?
	Status Command = "status" // everything that can be told
	Notify Command = "notify" // take Payload as a notification
)

// MaxPayload is the largest payload of Notify, in bytes: that of a notification.
const MaxPayload = 16 << 10

// Limits of a request line and an answer line. JSON holds a payload in base64, four thirds of its size.
const (
	maxRequest = MaxPayload/3*4 + 1024
	maxAnswer  = 4 << 20
)

// timeout bounds how long a client may take to send its request, and to take the answer. Both sit on the
// same machine.
const timeout = 5 * time.Second

// Request is what a client sends.
type Request struct {
	Command Command `json:"command"`
	Payload []byte  `json:"payload,omitempty"` // of Notify
}

// answer is what comes back: a result or an error.
type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// decodeRequest reads one request line, without its end. Its errors go back to the client.
func decodeRequest(line []byte) (Request, error) {
	var r Request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil && strings.HasPrefix(err.Error(), "json: unknown field") {
		return Request{}, errors.New("the request has a member that this culvertd does not know")
	} else if err != nil {
		return Request{}, fmt.Errorf("the request is not what this culvertd understands: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, errors.New("something follows the request on its line")
	}
	switch r.Command {
	case Ping, Status:
		if len(r.Payload) > 0 {
			return Request{}, fmt.Errorf("%s takes no payload", r.Command)
		}
	case Notify:
		if len(r.Payload) > MaxPayload {
			return Request{}, fmt.Errorf("the payload has %d bytes, more than %d", len(r.Payload), MaxPayload)
		}
	default:
		return Request{}, fmt.Errorf("command %q is unknown to this culvertd", word(string(r.Command)))
	}
	return r, nil
}

// word is s if it can be a command, of a later version perhaps. Other things are not repeated: someone may
// have put a token there.
func word(s string) string {
	const most = 20
	if len(s) > most || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "" {
		return "..."
	}
	return s
}

// readLine reads up to and with a line end, at most limit bytes. What follows the line is lost: nothing
// may send more.
func readLine(r io.Reader, limit int) ([]byte, error) {
	var line []byte
	chunk := make([]byte, 4096)
	for {
		n, err := r.Read(chunk)
		if i := bytes.IndexByte(chunk[:n], '\n'); i >= 0 {
			line, err = append(line, chunk[:i]...), nil
			if len(line) <= limit {
				return line, nil
			}
		} else {
			line = append(line, chunk[:n]...)
		}
		if len(line) > limit {
			return nil, fmt.Errorf("a line of more than %d bytes", limit)
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
}
