package e2e

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/sandbox"
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
			target, accepted := acceptOne(t)
			box := startSandbox(t, sandbox.Config{Services: map[string]string{"APP": target}})
			startSubscribed(t, box)
			o := newOperatorSite(t, box)
			if c.shares {
				o.share(t)
			}
			_, address, _ := o.startConnect(t, "pi-1", "APP")
			client, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			sendHalf(t, client)
			service := <-accepted
			defer service.Close()
			receiveHalf(t, service)
			sendHalf(t, service)
			receiveHalf(t, client)

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
