package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

const (
	// suspectDrop is how soon after SUBSCRIBE a closed connection looks like a policy's refusal: AWS IoT
	// Core answers a denied SUBSCRIBE by closing (a well-known trouble of AWS's own device client, too).
	suspectDrop      = 2 * time.Second
	suspectDropCount = 2 // in a row; one may be chance

	// takeover: a second client with the same client id makes the broker drop the first (AWS IoT developer
	// guide, MQTT client ids). Two such clients kick each other out, each after the other's reconnect delay.
	takeoverStood = 5 * time.Minute
	takeoverCount = 3
)

// Fault sorts the reasons of failures that the broker's policy or its other clients are suspected of.
type Fault string

// The faults. Any other failure has none.
const (
	ConnectDenied   Fault = "connect_denied"   // iot:Connect
	SubscribeDenied Fault = "subscribe_denied" // iot:Subscribe
	ClientIDClash   Fault = "client_id_clash"  // another client has the same id
)

// failureError is why a connection ended.
type failureError struct {
	err    error
	advice string // "" if nothing is known
	fault  Fault
}

func (f *failureError) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *failureError) Unwrap() error { return f.err }

// Hint says what to do.
func (f *failureError) Hint() string { return f.advice }

func failed(err error, advice string) *failureError { return &failureError{err: err, advice: advice} }

// doctor knows the connection's history, which tells a policy's refusal from a bad line.
type doctor struct {
	clientID, topic, endpoint string
	byName                    bool // the device shows a user name

	subscribeDrops int // closed right after SUBSCRIBE, in a row
	takeovers      int // closed by the broker a while after the SUBACK, in a row
}

// diagnose explains an end and takes it into the history.
func (d *doctor) diagnose(e end) *failureError {
	closed := closedByPeer(e.err)
	dropped := e.stage == stageSubscribe && closed && e.after <= suspectDrop
	switch {
	case dropped:
		d.subscribeDrops++
	case e.stage >= stageSubscribe:
		d.subscribeDrops = 0
	}
	kicked := e.stage == stageUp && closed && e.after < takeoverStood
	switch {
	case kicked:
		d.takeovers++
	case e.stage == stageUp:
		d.takeovers = 0
	}

	switch e.stage {
	case stageFiles, stageDial, stageTLS:
		return d.explain(e)
	case stageConnect:
		return d.connectFailure(e, closed)
	case stageSubscribe:
		return d.subscribeFailure(e, dropped)
	default:
		return d.lostFailure(e, kicked)
	}
}

// explain is diagnose for what went wrong before MQTT. It needs no history and leaves none.
func (d *doctor) explain(e end) *failureError {
	switch e.stage {
	case stageFiles:
		advice := cmp.Or(hint.Of(e.err), "check mqtt.cert_file, mqtt.key_file and mqtt.ca_file")
		if errors.Is(e.err, syscall.EMFILE) {
			advice = filesHint
		}
		return failed(fmt.Errorf("cannot use the certificate files: %w", e.err), advice)
	case stageDial:
		return failed(fmt.Errorf("cannot reach %s: %w", d.endpoint, e.err), dialHint(e.err))
	default:
		return failed(fmt.Errorf("TLS handshake with %s failed: %w", d.endpoint, e.err), tlsHint(e.err, e.tls, e.now()))
	}
}

func (d *doctor) connectFailure(e end, closed bool) *failureError {
	policy := fmt.Sprintf("the policy of the device's certificate must allow iot:Connect on client/%s, and the certificate must be active", d.clientID)
	if d.byName {
		policy = fmt.Sprintf("check mqtt.username, mqtt.password_file, mqtt.authorizer and its token; the policy that the authorizer gives must allow iot:Connect on client/%s", d.clientID)
	}
	var refused *refusedError
	_, alerted := remoteAlert(e.err)
	switch {
	case errors.As(e.err, &refused):
		switch refused.code {
		case 3:
			return failed(e.err, "")
		case 2:
			return failed(e.err, "check mqtt.client_id: "+d.clientID)
		default:
			return &failureError{e.err, policy, ConnectDenied}
		}
	case alerted:
		// With TLS 1.3 the server judges the client's certificate after the handshake.
		return failed(fmt.Errorf("broker ended TLS after CONNECT: %w", e.err), tlsHint(e.err, e.tls, e.now()))
	case closed:
		dropped := fmt.Errorf("broker closed the connection right after CONNECT: %w", e.err)
		if note := expiryNote(e.tls, e.now()); note != "" {
			return failed(dropped, note)
		}
		return &failureError{dropped, policy, ConnectDenied}
	case timedOut(e.err):
		return failed(fmt.Errorf("broker did not answer CONNECT within %v: %w", connackLimit, e.err), "check mqtt.endpoint and its port")
	default:
		return failed(fmt.Errorf("no MQTT session: %w", e.err), "")
	}
}

func (d *doctor) subscribeFailure(e end, dropped bool) *failureError {
	policy := fmt.Sprintf("the policy of the device's certificate must allow iot:Subscribe on topicfilter/%s and iot:Receive on topic/%s", d.topic, d.topic)
	switch {
	case errors.Is(e.err, errSubackRefused):
		return &failureError{e.err, policy, SubscribeDenied}
	case errors.Is(e.err, errNoSuback):
		return &failureError{fmt.Errorf("broker did not answer SUBSCRIBE within %v", subackLimit), policy, SubscribeDenied}
	case dropped:
		f := failed(fmt.Errorf("broker closed the connection right after SUBSCRIBE: %w", e.err), "")
		if d.subscribeDrops >= suspectDropCount {
			f.advice, f.fault = "this happens again and again: "+policy, SubscribeDenied
		}
		return f
	default:
		return failed(fmt.Errorf("connection lost after SUBSCRIBE: %w", e.err), "")
	}
}

func (d *doctor) lostFailure(e end, kicked bool) *failureError {
	f := failed(fmt.Errorf("connection lost: %w", e.err), "")
	if kicked {
		f.err = fmt.Errorf("broker closed the connection shortly after it was up: %w", e.err)
	}
	if kicked && d.takeovers >= takeoverCount {
		f.fault = ClientIDClash
		f.advice = fmt.Sprintf("this happens again and again: another client probably uses the client id %s too; "+
			"give this one an id of its own in mqtt.client_id, and allow it in the policy (iot:Connect)", d.clientID)
	}
	return f
}

// closedByPeer reports whether the other side, or something in between, closed without any MQTT or TLS message.
func closedByPeer(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
