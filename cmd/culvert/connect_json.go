package main

import (
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
)

// eventWriter prints a connection's events for programs: one JSON object a line. The names of events, of their fields
// and of reasons are a contract; texts are for people and may change. Without a writer it prints nothing.
type eventWriter struct {
	w     io.Writer
	thing string

	mu sync.Mutex
}

// connectEvent is a line of culvert connect --json.
type connectEvent struct {
	Event       string    `json:"event"`
	Time        time.Time `json:"time"`
	Thing       string    `json:"thing"`
	Tunnel      string    `json:"tunnel,omitempty"`
	Opened      *bool     `json:"opened,omitempty"` // connected: this command opened the tunnel, and did not find it open
	Service     string    `json:"service,omitempty"`
	Address     string    `json:"address,omitempty"`     // listening
	Connections *int      `json:"connections,omitempty"` // detached, resumed: how many are kept
	Reason      string    `json:"reason,omitempty"`      // ended
	ExitCode    *int      `json:"exit_code,omitempty"`   // ended
	Text        string    `json:"text,omitempty"`        // for a person
	Hint        string    `json:"hint,omitempty"`        // for a person
}

func (w *eventWriter) print(e connectEvent) error {
	if w.w == nil {
		return nil
	}
	e.Time, e.Thing = time.Now().UTC().Truncate(time.Millisecond), w.thing
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.w.Write(append(line, '\n'))
	return err
}

func (w *eventWriter) connected(t tunnel) {
	opened := t.Opened()
	_ = w.print(connectEvent{Event: "connected", Tunnel: t.ID(), Opened: &opened})
}

func (w *eventWriter) listening(service, address string) error {
	return w.print(connectEvent{Event: "listening", Service: service, Address: address})
}

// event prints the events that are of use to a program.
func (w *eventWriter) event(e connect.Event) {
	out := connectEvent{Tunnel: e.Tunnel, Service: e.Service, Text: e.Text}
	switch e.Kind {
	case connect.Detached, connect.Resumed:
		out.Event, out.Connections = "detached", &e.Connections
		if e.Kind == connect.Resumed {
			out.Event = "resumed"
		}
	case connect.Reopened:
		out.Event = "reopened"
	case connect.DeviceLeft:
		out.Event = "device_left"
	case connect.DeviceBack:
		out.Event = "device_back"
	case connect.ServiceMissing:
		out.Event = "service_missing"
	default:
		return
	}
	_ = w.print(out)
}

// reasons name the causes of a connection's end.
var reasons = map[connect.Reason]string{
	connect.BadRequest: "bad_request", connect.DeviceAbsent: "device_absent", connect.NoDataPlane: "no_data_endpoint",
	connect.TunnelClosed: "tunnel_closed", connect.TakenOver: "taken_over", connect.LinkLost: "link_lost",
	connect.DeviceGone: "device_gone", connect.ConnectionReset: "connection_reset", connect.ServiceRefused: "service_refused",
}

// ended prints the last event. err is what the command ends with; nil after a signal.
func (w *eventWriter) ended(err error) {
	code := exitCode(err)
	e := connectEvent{Event: "ended", Reason: "signal", ExitCode: &code}
	if err != nil {
		e.Reason, e.Text, e.Hint = "failed", err.Error(), hint.Of(err)
	}
	if code == exitInterrupted {
		e.Reason = "interrupted"
	}
	if known, ok := errors.AsType[*connect.Error](err); ok {
		e.Reason = reasons[known.Reason]
	}
	_ = w.print(e)
}

// exitCode is the exit code for the error that run returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}
