package holder

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
)

// TestAnEndIsToldWithoutTheLocalSocket: what io.Copy's ReadFrom adds names a socket of this machine.
func TestAnEndIsToldWithoutTheLocalSocket(t *testing.T) {
	refused := &connect.Error{Reason: connect.ServiceRefused, Text: "culvertd on pi-1 cannot connect to SSH"}
	wrapped := &net.OpError{Op: "readfrom", Net: "tcp4", Err: fmt.Errorf("copy: %w", refused)}
	if err := tunnelError(wrapped); err == nil || err.Error() != refused.Text {
		t.Errorf("%v, want %q", err, refused.Text)
	}
	if err := tunnelError(&net.OpError{Op: "write", Net: "tcp4", Err: errors.New("broken pipe")}); err != nil {
		t.Errorf("the local end's failure counts as the tunnel's: %v", err)
	}
}

// What comes from the other end of the socket cannot steer the terminal on which it is shown.
func TestAFailuresWordsAreSafeToShow(t *testing.T) {
	const nasty, want = "a\x1b[2Jb\nerror: forged\u202e", "a [2Jb error: forged"
	for _, reason := range []int{int(connect.ServiceRefused), reasonOther, reasonStopped} {
		err := (&failure{reason, nasty, nasty}).err()
		if err.Error() != want || hint.Of(err) != want {
			t.Errorf("reason %d: error %q, hint %q, want %q", reason, err, hint.Of(err), want)
		}
	}
}

// A connection that has worked is no sign that its service is missing, whatever has ended it.
func TestWhatAnEndSaysOfTheService(t *testing.T) {
	refused := &connect.Error{Reason: connect.ServiceRefused, Text: "a limit on pi-1 has ended the connection to SSH"}
	reset := &connect.Error{Reason: connect.ConnectionReset, Text: "SSH on pi-1 has reset the connection"}
	const nothing = connect.Step
	for _, tt := range []struct {
		received int64
		err      error
		want     connect.Kind
	}{
		{0, refused, connect.ServiceMissing},
		{1, refused, connect.Notice},
		{0, reset, connect.ServiceMissing},
		{1, reset, connect.Notice},
		{0, nil, connect.ServiceMissing},
		{1, nil, nothing},
	} {
		e, _ := endOf("pi-1", "SSH", tt.received, tt.err)
		if e.Kind != tt.want || e.Kind != nothing && (e.Service != "SSH" || tt.err == refused && !strings.Contains(e.Text, refused.Text)) {
			t.Errorf("%d bytes, then %v: %+v, want kind %d", tt.received, tt.err, e, tt.want)
		}
	}
}
