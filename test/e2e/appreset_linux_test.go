package e2e

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/holder"
)

// An application that resets its connection is seen to do so at the other end, through culvert connect and culvertd.
func TestAnApplicationsResetCrossesTheTunnel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ shares, byTarget bool }{
		"the client's":               {},
		"the target's":               {byTarget: true},
		"the client's with a holder": {shares: true},
		"the target's with a holder": {shares: true, byTarget: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.shares && !holder.Supported {
				t.Skip("this system has no holders")
			}
			_, _, client, service := halfway(t, c.shares)

			resets, sees := client, service
			if c.byTarget {
				resets, sees = service, client
			}
			_ = resets.(*net.TCPConn).SetLinger(0)
			_ = resets.Close()
			_ = sees.SetReadDeadline(time.Now().Add(time.Minute))
			if n, err := sees.Read(make([]byte, 16)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the application read %d bytes and %v, want a reset", n, err)
			}
		})
	}
}
