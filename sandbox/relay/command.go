package relay

import (
	"fmt"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// Command is a fault in JSON, as an admin endpoint takes it. Do names a method of [Faults]; the other members
// are its arguments, and those that it does not use are ignored. Durations are Go strings such as "250ms".
type Command struct {
	// Do is one of: set, clear, limit, refuse, lose_answers, cut, drop_all, close, strand, send_raw, send_message, ping.
	Do string `json:"do"`
	Target

	// For set. All absent means a good network again.
	BlackHole     bool   `json:"black_hole,omitempty"`
	Delay         string `json:"delay,omitempty"`
	RateLimit     int    `json:"rate_limit,omitempty"` // bytes a second
	RateShared    bool   `json:"rate_shared,omitempty"`
	WithholdPongs bool   `json:"withhold_pongs,omitempty"`
	SlowHandshake string `json:"slow_handshake,omitempty"`

	PerSecond int `json:"per_second,omitempty"` // limit: handshakes

	// For refuse, lose_answers, misname and end_early. Count 0 means 1.
	Count      int               `json:"count,omitempty"`
	Status     int               `json:"status,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	Body       string            `json:"body,omitempty"`
	RetryAfter string            `json:"retry_after,omitempty"`

	Subprotocol string `json:"subprotocol,omitempty"` // misname

	// For close and end_early.
	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`

	// For send_raw (base64), ping and pong.
	Data []byte `json:"data,omitempty"`
	Text bool   `json:"text,omitempty"` // send_raw: a text message
	// For send_message.
	Message *CommandMessage `json:"message,omitempty"`
}

// CommandMessage is a tunnel message in the names of the protocol guide.
type CommandMessage struct {
	Type                string   `json:"type"` // such as STREAM_START
	StreamID            int32    `json:"streamId,omitempty"`
	Ignorable           bool     `json:"ignorable,omitempty"`
	Payload             []byte   `json:"payload,omitempty"` // base64
	ServiceID           string   `json:"serviceId,omitempty"`
	AvailableServiceIDs []string `json:"availableServiceIds,omitempty"`
	ConnectionID        uint32   `json:"connectionId,omitempty"`
}

// Do carries out a command and returns how many connections it affected; 0 for those that wait for later handshakes.
func (f *Faults) Do(c Command) (met int, err error) {
	t := c.Target
	switch c.Do {
	case "set":
		n := Conditions{
			BlackHole: c.BlackHole, RateLimit: c.RateLimit, RateShared: c.RateShared, WithholdPongs: c.WithholdPongs,
		}
		if n.Delay, err = duration(c.Delay); err != nil {
			return 0, fmt.Errorf("delay: %w", err)
		}
		if n.SlowHandshake, err = duration(c.SlowHandshake); err != nil {
			return 0, fmt.Errorf("slow_handshake: %w", err)
		}
		f.Set(t, n)
		return len(f.relay.matching(t)), nil
	case "clear":
		f.Clear()
		return len(f.relay.matching(Target{})), nil
	case "limit":
		f.Limit(c.PerSecond)
		return 0, nil
	case "refuse":
		f.Refuse(t, Refusal{max(c.Count, 1), c.Status, c.Header, c.Body, c.RetryAfter})
		return 0, nil
	case "lose_answers":
		f.LoseAnswers(t, max(c.Count, 1))
		return 0, nil
	case "misname":
		f.Misname(t, max(c.Count, 1), c.Subprotocol)
		return 0, nil
	case "end_early":
		f.EndEarly(t, max(c.Count, 1), Ending{Code: c.Code, Reason: c.Reason})
		return 0, nil
	case "cut":
		return f.Cut(t), nil
	case "drop_all":
		return f.DropAll(), nil
	case "close":
		return f.CloseWith(t, c.Code, c.Reason), nil
	case "strand":
		return f.Strand(t), nil
	case "send_raw":
		return f.SendRaw(t, c.Text, c.Data), nil
	case "ping":
		return f.Ping(t, string(c.Data)), nil
	case "pong":
		return f.Pong(t, string(c.Data)), nil
	case "send_message":
		if c.Message == nil {
			return 0, fmt.Errorf("send_message needs a message")
		}
		m, err := c.Message.message()
		if err != nil {
			return 0, err
		}
		return f.SendMessage(t, m), nil
	}
	return 0, fmt.Errorf("unknown fault %q", c.Do)
}

func duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}

func (c *CommandMessage) message() (frame.Message, error) {
	m := frame.Message{
		StreamID: c.StreamID, Ignorable: c.Ignorable, Payload: c.Payload,
		ServiceID: c.ServiceID, AvailableServiceIDs: c.AvailableServiceIDs, ConnectionID: c.ConnectionID,
	}
	for m.Type = frame.Data; m.Type.Known(); m.Type++ {
		if m.Type.String() == c.Type {
			return m, nil
		}
	}
	return m, fmt.Errorf("unknown message type %q", c.Type)
}
