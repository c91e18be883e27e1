package e2e

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
)

// TestAnSSHServerThatRefusesIsNamed: OpenSSH 9.8 and newer send a line instead of their version to an address that has
// failed too often, and ssh does not show it.
func TestAnSSHServerThatRefusesIsNamed(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "Not allowed at this time\r\n")
			_ = c.Close()
		}
	}()
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": l.Addr().String()}})
	startSubscribed(t, box)
	o := newOperatorSite(t, box)
	o.share(t)
	for _, own := range [][]string{{"--no-share"}, nil} {
		_, errs, code := runSSH(o.culvert(t, append(append([]string{"ssh", "--quiet"}, own...), "pi-1", "true")...))
		const want = "error: SSH on pi-1 refuses connections for now: Not allowed at this time\nhint: wait some minutes; "
		if code != 255 || !strings.HasPrefix(errs, want) || !strings.Contains(errs, "PerSourcePenaltyExemptList 127.0.0.1,::1") || strings.Count(errs, "\n") != 2 {
			t.Errorf("%q: exit code %d\n%s", own, code, errs)
		}
	}
}
