package notify

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// Stage is how far a connection came: the step that failed.
type Stage int

// The stages, in their order.
const (
	Files     = Stage(stageFiles)     // reading the certificate files
	Dial      = Stage(stageDial)      // name, TCP, web proxy
	TLS       = Stage(stageTLS)       // handshake, and the broker's judgement of the device's certificate
	Connect   = Stage(stageConnect)   // CONNECT sent, no good CONNACK
	Subscribe = Stage(stageSubscribe) // SUBSCRIBE sent, no good SUBACK
	Up        = Stage(stageUp)        // subscribed
)

// Attempt is the outcome of a Probe.
type Attempt struct {
	Stage Stage
	Err   error // why it went no further, or was lost when it was up, often with a hint; nil if all went well
	Fault Fault
	Drops int // connections that the broker closed before this outcome

	Answered     bool // an answer to a ping was published, and the connection stood
	AnswerDenied bool // the broker closed the connection right after an answer, and the next one, without an answer, stood
}

// ProbeOptions say how far a Probe goes.
type ProbeOptions struct {
	// HandshakeOnly stops after TLS. A client of the same id that is connected does not notice; the broker would
	// drop it at a CONNECT.
	HandshakeOnly bool
	// Stay is how long a subscription must stand to be good. Another client of the same id that was dropped for it
	// comes back within seconds, and then drops this one. With HandshakeOnly a second of it at most is used, to wait
	// for the broker's judgement of the device's certificate, which with TLS 1.3 comes after the handshake.
	Stay time.Duration
}

const lateAlert = time.Second

// maxDrops bounds a probe's connections where the broker drops one now here, now there.
const maxDrops = 5

// Probe connects as Run does, once, and repeats only what the broker closed without a word, since it takes two or
// three of those to tell a refusal from a bad line. With Config.Answer it also publishes one test answer.
// Notifications that arrive meanwhile are not acknowledged: with PersistentSession the broker gives them to the next
// connection again. It ends with ctx.
func Probe(ctx context.Context, cfg Config, o ProbeOptions) Attempt {
	cfg.Logger = slog.New(slog.DiscardHandler)
	c := New(cfg)
	answer, lost := cfg.Answer != nil, false
	for drops := 0; ; drops++ {
		e := c.attempt(ctx, o, answer)
		if e.err == nil {
			return Attempt{Stage: Stage(e.stage), Drops: drops, Answered: answer && e.stage == stageUp, AnswerDenied: lost}
		}
		if answer && c.answers.cost(e) {
			// The next connection shows whether the answer was the cause.
			answer, lost = false, true
			drops--
			if backoff.Sleep(ctx, connectSpacing) == nil {
				continue
			}
		}
		f := c.doctor.diagnose(e)
		a := Attempt{Stage: Stage(e.stage), Err: f, Fault: f.fault, Drops: drops}
		if _, alerted := remoteAlert(e.err); alerted && e.stage == stageConnect {
			a.Stage = TLS
		}
		doubtful := e.stage == stageSubscribe && c.doctor.subscribeDrops < suspectDropCount || e.stage == stageUp && c.doctor.takeovers < takeoverCount
		if !doubtful || drops == maxDrops || !closedByPeer(e.err) || backoff.Sleep(ctx, connectSpacing) != nil {
			return a
		}
	}
}

var errStood = errors.New("the probe has seen enough")

// attempt is one connection, perhaps with a test answer; its end has no error if all went well.
func (c *Client) attempt(ctx context.Context, o ProbeOptions, answer bool) end {
	if o.HandshakeOnly {
		return c.shake(ctx, min(o.Stay, lateAlert))
	}
	enough, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := make(chan struct{})
	c.ready = ready // the goroutine below may outlive this attempt, and the next one sets the field anew
	go func() {
		select {
		case <-ready:
			if answer {
				select {
				case c.inbox.asked <- "":
				default: // a ping came, whose answer does as well
				}
			}
			if backoff.Sleep(enough, o.Stay) == nil {
				cancel(errStood)
			}
		case <-enough.Done():
		}
	}()
	e := c.connect(enough, c.inbox)
	if errors.Is(e.err, errStood) {
		e.err = nil
	}
	return e
}

// shake goes as far as TLS, and waits for a late alert.
func (c *Client) shake(ctx context.Context, stay time.Duration) end {
	config, err := c.tlsConfig()
	if err != nil {
		return end{stage: stageFiles, err: err}
	}
	conn, s, err := c.open(ctx, config)
	if err != nil {
		return end{stage: s, err: err, tls: config}
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(stay))
	if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // it waits for CONNECT, as it should
	}
	return end{stage: stageTLS, err: err, tls: config}
}
