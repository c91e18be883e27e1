package wsconn

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Reasons for the end of a connection, besides [*CloseError] and errors of the network.
var (
	// ErrDead means that the service sent nothing for too long, not even pongs.
	ErrDead = errors.New("the tunnel service is silent: no answer to pings")
	// ErrTextMessage means that the service sent a text message. Only binary ones are allowed.
	ErrTextMessage = errors.New("the tunnel service sent a text message")
	// ErrMessageTooBig means that a frame of more than MaxMessage bytes arrived or was to be sent.
	ErrMessageTooBig = errors.New("websocket message is larger than 131076 bytes")
	// ErrClosed means that this side called Close.
	ErrClosed = errors.New("websocket closed by this side")
)

// CloseError is a close frame from the service. AWS documents no codes: log them, but do not branch on
// them.
type CloseError struct {
	Code   int    // 1005 when the frame named none
	Reason string // printable; often empty
}

func (e *CloseError) Error() string {
	text := "the tunnel service closed the websocket"
	if e.Code != closeNoStatus {
		text += " with code " + strconv.Itoa(e.Code)
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// HandshakeError is an answer to the handshake that opens no websocket. By the protocol guide, a 4xx is
// final for the access token, and anything else may be retried.
type HandshakeError struct {
	Status       int           // of HTTP; 101 when the upgrade itself was malformed
	StatusReason string        // the X-Status-Reason header, printable
	Body         string        // printable, at most 1,024 bytes
	ChannelID    string        // identifies the attempt for AWS support; may be empty
	RetryAfter   time.Duration // 0 if the service named none; at most an hour
	Date         time.Time     // the service's clock, in whole seconds; zero if unknown
}

func (e *HandshakeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the tunnel service answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Status == http.StatusSwitchingProtocols {
		b.WriteString(" without a valid websocket upgrade")
	}
	for _, part := range []string{e.StatusReason, e.Body} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %v)", e.RetryAfter)
	}
	if e.ChannelID != "" {
		b.WriteString(" (channel-id " + e.ChannelID + ")")
	}
	return b.String()
}

const maxRetryAfter = time.Hour

// retryAfter parses a Retry-After header: seconds or an HTTP date (RFC 9110, section 10.2.3). Anything
// else counts as absent.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	var d time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	} else if isDigits(value) {
		d = maxRetryAfter
	}
	return min(max(d, 0), maxRetryAfter)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

const (
	maxBody   = 1024
	maxHeader = 256
)

// scrubber removes this connection's tokens, whole or in part, from what a server sent: some servers
// repeat the request's headers in their answer, and answers are logged.
type scrubber []string

// shownPart is the longest part of a token that may be a coincidence, in characters.
const shownPart = 11

func (s scrubber) text(in string) string {
	for _, token := range s {
		if token != "" {
			in = scrub(in, token)
		}
	}
	return in
}

// scrub replaces each run of more than shownPart characters that is part of the token.
func scrub(in, token string) string {
	size := min(shownPart+1, len(token))
	if len(in) < size {
		return in
	}
	parts := make(map[string]struct{}, len(token))
	for i := range len(token) - size + 1 {
		parts[token[i:i+size]] = struct{}{}
	}
	var out strings.Builder
	for i := 0; i < len(in); {
		end := i
		for j := i; j+size <= len(in); j++ { // extend by overlapping parts
			if _, found := parts[in[j:j+size]]; !found {
				break
			}
			end = j + size
		}
		if end > i {
			out.WriteString("[token]")
			i = end
			continue
		}
		out.WriteByte(in[i])
		i++
	}
	return out.String()
}

func (s scrubber) err(err error) error {
	if text := err.Error(); s.text(text) != text {
		return errors.New(s.text(text))
	}
	return err
}
