package stream

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/culvert-iot/culvert/internal/loglimit"
	"github.com/culvert-iot/culvert/proxy/frame"
)

// What leaves the tunnel's state in doubt ends the websocket, with close code 1002. What was received before
// is still written.
func TestViolationsEndTheWebsocket(t *testing.T) {
	violations := []struct {
		name string
		hex  string
		want error // or a *ProtocolError
	}{
		{name: "type 0", hex: "0002 1001"},
		{name: "an empty message", hex: "0000"},
		{name: "an unknown type", hex: "0004 0863 1001"},
		{name: "a negative type", hex: "000b 08ffffffffffffffffff01"},
		{name: "a malformed message", hex: "0002 0880", want: frame.ErrMalformed},
		{name: "a length that cuts a message", hex: "0003 080210 01", want: frame.ErrMalformed},
		{name: "a service id that is not UTF-8", hex: "0008 0802 1001 2a02c328", want: frame.ErrMalformed},
	}
	for _, v := range violations {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 SINK#1", "DATA 1 SINK#1 tail")
				b, err := hex.DecodeString(strings.ReplaceAll(v.hex, " ", ""))
				if err != nil {
					t.Fatal(err)
				}
				s.sendBytes(b)
				err = <-s.served
				var violation *ProtocolError
				switch {
				case v.want != nil && !errors.Is(err, v.want):
					t.Errorf("Serve: %v, want %v", err, v.want)
				case v.want == nil && !errors.As(err, &violation):
					t.Errorf("Serve: %v, want a *ProtocolError", err)
				}
				if code := s.judge.Transport.(*end).closeCode(); code != 1002 {
					t.Errorf("closed with code %d, want 1002", code)
				}
				if got := s.target("SINK", 0).text(); got != "tail|" {
					t.Errorf("the target received %q", got)
				}
				s.served <- err
				_ = s.end()
			})
		})
	}
}

func TestTheEndOfTheTransportIsReported(t *testing.T) {
	m := message("STREAM_START 1 NONE#1")
	whole, err := m.AppendFrame(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sent []byte
		want error
	}{
		"between two frames": {whole, io.EOF},
		"within a frame":     {whole[:len(whole)-1], io.ErrUnexpectedEOF},
		"within a length":    {append(bytes.Clone(whole), 0), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.sendBytes(c.sent)
				_ = s.received()
				if err := s.end(); !errors.Is(err, c.want) {
					t.Errorf("Serve: %v, want %v", err, c.want)
				}
			})
		})
	}
}

// A hostile peer must not fill the log, whatever it varies.
func TestAFloodOfOffencesIsAFewLines(t *testing.T) {
	t.Parallel()
	const flood = 2000
	floods := map[string]func(i int) []string{
		"unknown services":    func(i int) []string { return []string{fmt.Sprintf("STREAM_START 1 S%d#1", i)} },
		"one unknown service": func(i int) []string { return []string{fmt.Sprintf("STREAM_START %d NONE#1", i+1)} },
		"no stream ids":       func(int) []string { return []string{"STREAM_START 0 ECHO#1", "DATA 0 ECHO#1 x"} },
		"session resets":      func(int) []string { return []string{"SESSION_RESET"} },
		"service ids":         func(i int) []string { return []string{fmt.Sprintf("SERVICE_IDS 0 - S%d", i)} },
		"impossible services": func(int) []string { return []string{"STREAM_START 1 " + strings.Repeat("y", 200) + "#1"} },
		"starts twice": func(i int) []string {
			return []string{fmt.Sprintf("STREAM_START %d SINK#1", i+1), fmt.Sprintf("CONNECTION_START %d SINK#1", i+1)}
		},
		"unexpected for the form": func(i int) []string {
			return []string{fmt.Sprintf("STREAM_START %d SINK", i+1), fmt.Sprintf("CONNECTION_RESET %d SINK#1", i+1)}
		},
		"data without a start": func(i int) []string { return []string{fmt.Sprintf("DATA %d S%d#1 x", i+1, i)} },
	}
	for name, offend := range floods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				for i := range flood {
					s.send(offend(i)...)
					if i%100 == 0 {
						_ = s.received()
					}
				}
				_ = s.received()
				if lines := s.log.all(); len(lines) > loglimit.DefaultKinds+1 {
					t.Errorf("%d lines in the log for %d offences, the last:\n%s", len(lines), flood, lines[len(lines)-1])
				}
				if n := len(s.d.Stats()); n > maxStreams+1 {
					t.Errorf("statistics of %d services", n)
				}
				s.alive(V3)
				_ = s.end()
			})
		})
	}
}
