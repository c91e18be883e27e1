package stream

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Each row is what a source and the service send, what must come back, and what the targets of SINK must
// have received in the order of their connects, "|" being the end. Steps that must be answered before the
// next is sent stand apart: "..." waits.
var conversations = []struct {
	name  string
	v1    string // service of streams without one
	in    []string
	out   []string
	sinks []string
}{
	{
		name: "a V3 stream carries bytes both ways",
		in:   []string{"STREAM_START 1 ECHO#1", "DATA 1 ECHO#1 hello"},
		out:  []string{"DATA 1 ECHO#1 hello"},
	},
	{
		name: "a V2 stream is answered without connection ids",
		in:   []string{"STREAM_START 1 ECHO", "DATA 1 ECHO hello"},
		out:  []string{"DATA 1 ECHO hello"},
	},
	{
		name: "a V1 stream is answered without service and connection ids",
		v1:   "ECHO",
		in:   []string{"STREAM_START 1 -", "DATA 1 - hello"},
		out:  []string{"DATA 1 - hello"},
	},
	{
		name: "a V3 stream on a tunnel without services is answered with connection ids alone",
		v1:   "ECHO",
		in:   []string{"STREAM_START 1 #1", "DATA 1 #1 hello", "...", "CONNECTION_START 1 #2", "DATA 1 #2 two"},
		out:  []string{"DATA 1 #1 hello", "DATA 1 #2 two"},
	},
	{
		name: "connections of a stream are told apart",
		in: []string{
			"STREAM_START 1 ECHO#1", "CONNECTION_START 1 ECHO#2", "CONNECTION_START 1 ECHO#77",
			"DATA 1 ECHO#77 c", "...", "DATA 1 ECHO#1 a", "...", "DATA 1 ECHO#2 b",
		},
		out: []string{"DATA 1 ECHO#77 c", "DATA 1 ECHO#1 a", "DATA 1 ECHO#2 b"},
	},
	{
		name: "streams with the same id are told apart by their service",
		in:   []string{"STREAM_START 1 ECHO#1", "STREAM_START 1 SINK#1", "DATA 1 SINK#1 s", "DATA 1 ECHO#1 e"},
		out:  []string{"DATA 1 ECHO#1 e"}, sinks: []string{"s"},
	},

	// Starts that cannot be.
	{
		name: "V3: an unknown service is answered with CONNECTION_RESET",
		in:   []string{"STREAM_START 1 NONE#1"},
		out:  []string{"CONNECTION_RESET 1 NONE#1"},
	},
	{
		name: "V3: a refused further connection leaves its siblings alone",
		in:   []string{"STREAM_START 1 NONE#1", "...", "CONNECTION_START 1 NONE#2", "...", "CONNECTION_START 1 NONE#3"},
		out:  []string{"CONNECTION_RESET 1 NONE#1", "CONNECTION_RESET 1 NONE#2", "CONNECTION_RESET 1 NONE#3"},
	},
	{
		name: "V2: an unknown service is answered with STREAM_RESET",
		in:   []string{"STREAM_START 1 NONE"},
		out:  []string{"STREAM_RESET 1 NONE"},
	},
	{
		name: "V1: a refused target is answered with STREAM_RESET",
		v1:   "NONE",
		in:   []string{"STREAM_START 1 -"},
		out:  []string{"STREAM_RESET 1 -"},
	},
	{
		name: "V1: a tunnel without a single service is answered with STREAM_RESET",
		in:   []string{"STREAM_START 1 -"},
		out:  []string{"STREAM_RESET 1 -"},
	},
	{
		name: "V3 without services: a refused target is answered with CONNECTION_RESET",
		v1:   "NONE",
		in:   []string{"STREAM_START 1 #1"},
		out:  []string{"CONNECTION_RESET 1 #1"},
	},
	{
		name: "V3 without services: no default service is answered with CONNECTION_RESET",
		in:   []string{"STREAM_START 1 #5"},
		out:  []string{"CONNECTION_RESET 1 #5"},
	},
	{
		name: "data and resets for a refused stream are dropped",
		in:   []string{"STREAM_START 1 NONE#1", "DATA 1 NONE#1 x", "...", "DATA 1 NONE#1 y", "CONNECTION_RESET 1 NONE#1", "STREAM_RESET 1 NONE"},
		out:  []string{"CONNECTION_RESET 1 NONE#1"},
	},
	{
		name: "a start without a stream id is ignored: nothing could answer it",
		in:   []string{"STREAM_START 0 ECHO#1", "DATA 0 ECHO#1 x", "STREAM_RESET 0 ECHO", "CONNECTION_START 0 ECHO#2", "CONNECTION_RESET 0 ECHO#1"},
	},
	{
		name: "a negative stream id is as good as any",
		in:   []string{"STREAM_START -5 ECHO#1", "DATA -5 ECHO#1 x"},
		out:  []string{"DATA -5 ECHO#1 x"},
	},
	{
		name: "an impossible service id is ignored",
		in:   []string{"STREAM_START 1 " + strings.Repeat("x", 129) + "#1", "STREAM_START 1 " + strings.Repeat("x", 65000) + "#1"},
	},
	{
		name: "a service id of the longest kind is answered",
		in:   []string{"STREAM_START 1 " + strings.Repeat("x", 128) + "#1"},
		out:  []string{"CONNECTION_RESET 1 " + strings.Repeat("x", 128) + "#1"},
	},

	// Unexpected data.
	{
		name: "data without a stream is dropped",
		in:   []string{"DATA 1 ECHO#1 x", "DATA 1 ECHO x", "DATA 1 - x", "DATA 1 #1 x"},
	},
	{
		name: "data with another stream id is stale",
		in:   []string{"STREAM_START 2 SINK#1", "DATA 1 SINK#1 old", "DATA 2 SINK#1 new"}, sinks: []string{"new"},
	},
	{
		name: "data of an unknown connection is dropped",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#2 x", "DATA 1 SINK#1 y"}, sinks: []string{"y"},
	},
	{
		name: "data behind a reset is dropped",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#1 x", "CONNECTION_RESET 1 SINK#1", "DATA 1 SINK#1 y"}, sinks: []string{"x|"},
	},
	{
		name: "V3: data without a connection id is for connection 1",
		in:   []string{"STREAM_START 1 ECHO#1", "DATA 1 ECHO x"},
		out:  []string{"DATA 1 ECHO#1 x"},
	},
	{
		name: "V2: a connection id in data does not matter",
		in:   []string{"STREAM_START 1 ECHO", "DATA 1 ECHO#9 x"},
		out:  []string{"DATA 1 ECHO x"},
	},
	{
		name: "an empty payload is nothing",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#1", "DATA 1 SINK#1 x", "DATA 1 SINK#1"}, sinks: []string{"x"},
	},
	{
		name: "the largest payload arrives",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#1 " + strings.Repeat("x", 64512)}, sinks: []string{strings.Repeat("x", 64512)},
	},

	// Connections within a stream.
	{
		name: "a connection id that is started twice is reset, its siblings live",
		in: []string{
			"STREAM_START 1 ECHO#1", "CONNECTION_START 1 ECHO#2", "CONNECTION_START 1 ECHO#2", "...",
			"DATA 1 ECHO#2 gone", "DATA 1 ECHO#1 here",
		},
		out: []string{"CONNECTION_RESET 1 ECHO#2", "DATA 1 ECHO#1 here"},
	},
	{
		name: "what was sent before a connection was started twice is written",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#1 x", "CONNECTION_START 1 SINK#1"},
		out:  []string{"CONNECTION_RESET 1 SINK#1"}, sinks: []string{"x|"},
	},
	{
		name: "connection id 0 is 1",
		in:   []string{"STREAM_START 1 ECHO#1", "CONNECTION_START 1 ECHO", "...", "CONNECTION_START 1 ECHO", "DATA 1 ECHO#1 x"},
		out:  []string{"CONNECTION_RESET 1 ECHO#1", "DATA 1 ECHO#1 x"},
	},
	{
		name: "CONNECTION_START without a stream counts as STREAM_START",
		in:   []string{"CONNECTION_START 9 ECHO#4", "DATA 9 ECHO#4 x"},
		out:  []string{"DATA 9 ECHO#4 x"},
	},
	{
		name: "CONNECTION_START without a stream and connection id makes a V3 stream",
		in:   []string{"CONNECTION_START 9 ECHO", "DATA 9 ECHO x", "...", "CONNECTION_START 9 ECHO#2", "DATA 9 ECHO#2 y"},
		out:  []string{"DATA 9 ECHO#1 x", "DATA 9 ECHO#2 y"},
	},
	{
		name: "CONNECTION_START with another stream id is answered with a reset of just that",
		in:   []string{"STREAM_START 1 ECHO#1", "CONNECTION_START 2 ECHO#2", "DATA 2 ECHO#2 no", "...", "DATA 1 ECHO#1 yes"},
		out:  []string{"CONNECTION_RESET 2 ECHO#2", "DATA 1 ECHO#1 yes"},
	},
	{
		name: "V2: CONNECTION_START resets the stream",
		in:   []string{"STREAM_START 1 SINK", "DATA 1 SINK x", "CONNECTION_START 1 SINK#2", "DATA 1 SINK y"},
		out:  []string{"STREAM_RESET 1 SINK"}, sinks: []string{"x|"},
	},
	{
		name: "V1: CONNECTION_START resets the stream",
		v1:   "SINK",
		in:   []string{"STREAM_START 1 -", "DATA 1 - x", "CONNECTION_START 1 -", "DATA 1 - y"},
		out:  []string{"STREAM_RESET 1 -"}, sinks: []string{"x|"},
	},
	{
		name: "V2: CONNECTION_RESET resets the stream",
		in:   []string{"STREAM_START 1 SINK", "DATA 1 SINK x", "CONNECTION_RESET 1 SINK#1", "DATA 1 SINK y"},
		out:  []string{"STREAM_RESET 1 SINK"}, sinks: []string{"x|"},
	},
	{
		name: "V1: CONNECTION_RESET resets the stream",
		v1:   "SINK",
		in:   []string{"STREAM_START 1 -", "DATA 1 - x", "CONNECTION_RESET 1 -", "DATA 1 - y"},
		out:  []string{"STREAM_RESET 1 -"}, sinks: []string{"x|"},
	},
	{
		name: "a V2 stream that was reset can be started again",
		in:   []string{"STREAM_START 1 ECHO", "CONNECTION_RESET 1 ECHO#1", "...", "STREAM_START 2 ECHO", "DATA 2 ECHO x"},
		out:  []string{"STREAM_RESET 1 ECHO", "DATA 2 ECHO x"},
	},
	{
		name: "a stream outlives its last connection",
		in: []string{
			"STREAM_START 1 SINK#1", "DATA 1 SINK#1 a", "CONNECTION_RESET 1 SINK#1", "...",
			"CONNECTION_START 1 SINK#2", "DATA 1 SINK#2 b", "CONNECTION_RESET 1 SINK#2",
		},
		sinks: []string{"a|", "b|"},
	},
	{
		name: "resets of unknown connections are nothing",
		in:   []string{"STREAM_START 1 ECHO#1", "CONNECTION_RESET 1 ECHO#2", "CONNECTION_RESET 2 ECHO#1", "CONNECTION_RESET 1 NONE#1", "STREAM_RESET 2 ECHO", "DATA 1 ECHO#1 x"},
		out:  []string{"DATA 1 ECHO#1 x"},
	},
	{
		name: "STREAM_RESET ends all connections of the stream and no other",
		in: []string{
			"STREAM_START 1 SINK#1", "CONNECTION_START 1 SINK#2", "STREAM_START 1 ECHO#1", "...",
			"DATA 1 SINK#1 a", "DATA 1 SINK#2 a", "STREAM_RESET 1 SINK", "DATA 1 ECHO#1 x",
		},
		out: []string{"DATA 1 ECHO#1 x"}, sinks: []string{"a|", "a|"},
	},

	// A source that was replaced.
	{
		name: "STREAM_START with a new id ends the old stream, whose data is written",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#1 old", "...", "STREAM_START 2 SINK#1", "DATA 1 SINK#1 late", "DATA 2 SINK#1 new"}, sinks: []string{"old|", "new"},
	},
	{
		name: "STREAM_START with the same id ends the old stream, whose data is written",
		in:   []string{"STREAM_START 1 SINK#1", "DATA 1 SINK#1 old", "...", "STREAM_START 1 SINK#1", "DATA 1 SINK#1 new"}, sinks: []string{"old|", "new"},
	},
	{
		name: "V2: STREAM_START with the same id ends the old stream",
		in:   []string{"STREAM_START 1 SINK", "DATA 1 SINK old", "...", "STREAM_START 1 SINK", "DATA 1 SINK new"}, sinks: []string{"old|", "new"},
	},
	{
		name: "a source in another form ends all streams of the old form, without a word in it",
		v1:   "SINK",
		in:   []string{"STREAM_START 1 -", "DATA 1 - old", "...", "STREAM_START 1 ECHO#1", "DATA 1 - late", "DATA 1 ECHO#1 new"},
		out:  []string{"DATA 1 ECHO#1 new"}, sinks: []string{"old|"},
	},
	{
		name: "from V3 back to V2",
		in: []string{
			"STREAM_START 1 SINK#1", "CONNECTION_START 1 SINK#2", "...", "DATA 1 SINK#1 a", "DATA 1 SINK#2 a",
			"STREAM_START 1 ECHO", "DATA 1 ECHO x", "DATA 1 SINK#1 late",
		},
		out: []string{"DATA 1 ECHO x"}, sinks: []string{"a|", "a|"},
	},
	{
		name: "the same service in another form",
		in:   []string{"STREAM_START 1 SINK", "DATA 1 SINK old", "...", "STREAM_START 1 SINK#1", "DATA 1 SINK#1 new"}, sinks: []string{"old|", "new"},
	},

	// The service's own messages.
	{
		name: "SESSION_RESET ends all streams, and new ones work",
		in: []string{
			"STREAM_START 1 SINK#1", "STREAM_START 1 ECHO#1", "DATA 1 SINK#1 a", "...", "SESSION_RESET",
			"DATA 1 SINK#1 b", "DATA 1 ECHO#1 b", "...", "STREAM_START 2 SINK#1", "DATA 2 SINK#1 c",
		},
		sinks: []string{"a|", "c"},
	},
	{
		name: "SERVICE_IDS may come again, and be empty",
		in:   []string{"SERVICE_IDS 0 - ECHO SINK", "STREAM_START 1 ECHO#1", "SERVICE_IDS", "SERVICE_IDS 0 - ECHO", "DATA 1 ECHO#1 x"},
		out:  []string{"DATA 1 ECHO#1 x"},
	},
	{
		name: "an ignorable message of an unknown type is skipped",
		in:   []string{"STREAM_START 1 ECHO#1", "TYPE_99! 1 ECHO#1 x", "TYPE_8! 0 -", "DATA 1 ECHO#1 y"},
		out:  []string{"DATA 1 ECHO#1 y"},
	},
	{
		name: "ignorable means nothing on a known type",
		in:   []string{"STREAM_START! 1 ECHO#1", "DATA! 1 ECHO#1 y"},
		out:  []string{"DATA 1 ECHO#1 y"},
	},
}

func TestConversations(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, c.v1)
				var got []string
				step := []string{}
				for _, m := range append(c.in, "...") {
					if m != "..." {
						step = append(step, m)
						continue
					}
					s.send(step...)
					got = append(got, s.received()...)
					step = nil
				}
				if diff := cmp.Diff(c.out, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
				var sinks []string
				for _, to := range s.targets["SINK"] {
					sinks = append(sinks, to.text())
				}
				if diff := cmp.Diff(c.sinks, sinks, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("targets received (-want +got):\n%s", diff)
				}
				s.alive(V3)
				if err := s.end(); err == nil {
					t.Error("Serve ended without an error")
				}
			})
		})
	}
}
