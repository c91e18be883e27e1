package wsconn

import (
	"io"
	"strings"
	"testing"
)

// Each rule of RFC 6455 for what a service may send, broken in one place.
func TestFramesThatBreakARuleEndTheConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		sent [][]byte
		rule string
	}{
		"a reserved bit":                 {[][]byte{{0x82 | 0x40, 1, 'x'}}, "reserved bits set"},
		"a mask":                         {[][]byte{{0x82, 0x80 | 1, 0, 0, 0, 0, 'x'}}, "bad MASK"},
		"an unknown control frame":       {[][]byte{{0x8b, 0}}, "bad opcode 11"},
		"a ping in pieces":               {[][]byte{{0x09, 1, 'x'}}, "FIN not set on control"},
		"a ping of 126 bytes":            {[][]byte{{0x89, 126, 0, 126}, []byte(strings.Repeat("x", 126))}, "len > 125 for control"},
		"a message within another":       {[][]byte{{0x02, 1, 'x'}, {0x82, 1, 'y'}}, "data before FIN"},
		"a continuation of nothing":      {[][]byte{{0x80, 1, 'x'}}, "continuation after FIN"},
		"a close code that never is":     {[][]byte{{0x88, 2, 0x03, 0xed}}, "bad close code 1005"},
		"an unassigned close code":       {[][]byte{{0x88, 2, 0x07, 0xd0}}, "bad close code 2000"},
		"a close reason that is no text": {[][]byte{{0x88, 3, 0x03, 0xe8, 0xff}}, "invalid utf8 payload in close frame"},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := open(t, nil)
			answers := p.script(false, tt.sent...)
			_, err := io.Copy(io.Discard, onlyReader{c})
			if err == nil || !strings.HasSuffix(err.Error(), tt.rule) {
				t.Errorf("%v, want %q", err, tt.rule)
			}
			var last frame
			for f := range answers {
				last = f
			}
			if want := closePayload(closeProtocol, tt.rule); last.Payload != want {
				t.Errorf("the answer is %q, want %q", last.Payload, want)
			}
		})
	}
}
