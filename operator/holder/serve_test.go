package holder

import (
	"errors"
	"fmt"
	"net"
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
