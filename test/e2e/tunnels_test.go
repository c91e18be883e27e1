package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
)

func TestTunnelsShowsWhatIsHeldAndOpen(t *testing.T) {
	t.Parallel()
	o := startServicesSite(t, true, map[string]string{"ECHO": echoServer(t)})
	if out, errs, code := runSSH(o.culvert(t, "tunnels")); code != 0 || out != "" || !strings.Contains(errs, "no tunnel is held") {
		t.Errorf("without one: exit code %d, %q, %q", code, out, errs)
	}
	cmd := o.culvert(t, "connect", "--stdio", "--price", "1.50 USD", "pi-1", "ECHO")
	cmd.Stdin = strings.NewReader("twelve bytes")
	if out, errs, code := runSSH(cmd); code != 0 || out != "twelve bytes" || !strings.Contains(errs, "which AWS charges for (1.50 USD)") {
		t.Fatalf("exit code %d, %q\n%s", code, out, errs)
	}
	user, _, _ := o.startConnect(t, "pi-1", "ECHO")
	h, id := o.onlyHolder(t), o.open()[0].ID

	var row struct {
		Thing, Tunnel string
		Services      []string
		Since         time.Time
		Expires       time.Time
		Users         int
		BytesIn       int64 `json:"bytes_in"`
		BytesOut      int64 `json:"bytes_out"`
		Device        *bool `json:"device_connected"`
		Held          struct {
			PID, Opened int
			Log, Price  string
			Ends        *time.Time
		}
	}
	out, errs, code := runSSH(o.culvert(t, "tunnels", "--json"))
	if err := json.Unmarshal([]byte(out), &row); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v, %q, %q", code, err, out, errs)
	}
	if row.Thing != "pi-1" || row.Tunnel != id || len(row.Services) != 1 || row.Users != 1 || row.BytesIn != 12 || row.BytesOut != 12 || row.Device != nil ||
		row.Held.PID != h.PID || row.Held.Log != h.Log || row.Held.Price != "1.50 USD" || row.Held.Opened != 1 || row.Held.Ends != nil ||
		row.Expires.Sub(row.Since).Round(time.Hour) != 12*time.Hour {
		t.Errorf("%+v\n%s", row, out)
	}
	if out, _, code := runSSH(o.culvert(t, "tunnels", "--output", "json", "pi-1")); code != 0 || !strings.Contains(out, `"device_connected":true`) || strings.Count(out, "\n") != 1 {
		t.Errorf("with AWS's view: exit code %d\n%s", code, out)
	}
	if out, _, code := runSSH(o.culvert(t, "tunnels", "--price", "2 EUR")); code != 0 || !strings.Contains(out, "opened 1 tunnel (2 EUR) since ") || !strings.Contains(out, "\n  log: "+h.Log+"\n") {
		t.Errorf("for people: exit code %d\n%s", code, out)
	}
	if out, errs, code := runSSH(o.culvert(t, "tunnels", "--prune", "--yes", "--all")); code != 0 || out != "" || !strings.Contains(errs, "nothing to close: 1 open") {
		t.Errorf("prune: exit code %d, %q, %q", code, out, errs)
	}
	if n := len(o.open()); n != 1 {
		t.Fatalf("%d tunnels are open, want 1", n)
	}

	if out, errs, code := runSSH(o.culvert(t, "tunnels", "--close", "pi-1")); code != 0 || out+errs != "" {
		t.Errorf("close: exit code %d, %q, %q", code, out, errs)
	}
	if n := len(o.open()); n != 0 {
		t.Errorf("%d tunnels are open after --close", n)
	}
	_ = user.Wait()
	if code := user.ProcessState.ExitCode(); code != 5 {
		t.Errorf("the command that used it ended with exit code %d, want 5", code)
	}
	eventually(t, 10*time.Second, "the holder has ended", func() bool { return syscall.Kill(h.PID, 0) != nil })
	if _, errs, code := runSSH(o.culvert(t, "tunnels", "--close", "pi-1")); code != 1 || !strings.Contains(errs, "no tunnel to pi-1 is held") {
		t.Errorf("a second time: exit code %d\n%s", code, errs)
	}
}

func TestPruneLeavesYoungTunnelsAlone(t *testing.T) {
	t.Parallel()
	o := startServicesSite(t, false, map[string]string{"ECHO": echoServer(t)})
	openTunnel(t, o.box, nil, "ECHO")
	if out, errs, code := runSSH(o.culvert(t, "tunnels", "--prune", "--yes", "pi-1")); code != 0 || out != "" || !strings.Contains(errs, "nothing to close: 1 open, all of them in use, held or used recently") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	if n := len(o.open()); n != 1 {
		t.Errorf("%d tunnels are open, want 1", n)
	}
	if out, errs, code := runSSH(o.culvert(t, "tunnels", "pi-9")); code != 1 || out != "" || !strings.Contains(errs, "error: there is no thing pi-9 in ") || strings.Contains(errs, "no tunnel is open") {
		t.Errorf("of an unknown thing: exit code %d, %q, %q", code, out, errs)
	}
	if out, errs, code := runSSH(o.culvert(t, "tunnels", "--output", "json", "pi-9", "pi-1")); code != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(errs, "error: there is no thing pi-9 in ") {
		t.Errorf("of an unknown thing and another: exit code %d, %q, %q", code, out, errs)
	}
	if _, errs, code := runSSH(o.culvert(t, "tunnels", "--endpoint-url", "http://127.0.0.1:1", "pi-1")); code != 1 || !strings.Contains(errs, "\nhint: nothing listens there") {
		t.Errorf("without an API: exit code %d, %q", code, errs)
	}
}

// Opening a tunnel fixes its services, so culvert opens it for those that the thing is known to have.
func TestATunnelIsOpenedForTheServicesThatAnswered(t *testing.T) {
	o := startServicesSite(t, true, map[string]string{"SSH": echoServer(t), "WEB": echoServer(t), "DB": echoServer(t), "VNC": echoServer(t), "NONE": "127.0.0.1:1"})
	use := func(service string) (errs string) {
		t.Helper()
		cmd := o.culvert(t, "connect", "--stdio", "pi-1", service)
		cmd.Stdin = strings.NewReader(service)
		out, errs, code := runSSH(cmd)
		if service != "NONE" && (code != 0 || out != service) {
			t.Fatalf("%s: exit code %d, %q\n%s", service, code, out, errs)
		}
		return errs
	}
	for _, service := range []string{"SSH", "WEB", "NONE"} { // each gets a new tunnel, or an earlier one's
		use(service)
	}
	if _, errs, code := runSSH(o.culvert(t, "tunnels", "--close", "pi-1")); code != 0 {
		t.Fatal(errs)
	}
	before := o.opened()
	use("DB")
	if open := o.open(); len(open) != 1 || !slices.Equal(open[0].Destination.Services, []string{"DB", "WEB", "SSH"}) {
		t.Fatalf("open tunnels: %+v", open)
	}
	for _, service := range []string{"SSH", "WEB", "DB"} {
		use(service)
	}
	if n := o.opened() - before; n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
	if errs := use("VNC"); !strings.Contains(errs, "has no service VNC, and AWS fixes a tunnel's services at its opening") {
		t.Errorf("no reason is given for another tunnel:\n%s", errs)
	}
}

// TestTunnelsOfAThingWhileAWSIsSilent: whether the thing exists is worth a short wait, which Ctrl-C ends.
func TestTunnelsOfAThingWhileAWSIsSilent(t *testing.T) {
	t.Parallel()
	const none = "no tunnel is open"
	for name, c := range map[string]struct {
		args      []string
		interrupt bool
		code      int
		want, not string
	}{
		"it ends":                 {[]string{"pi-1", "pi-2", "pi-3"}, false, 0, none, "error:"},
		"Ctrl-C":                  {[]string{"pi-1"}, true, 130, "error: interrupted", none},
		"Ctrl-C before a closing": {[]string{"--prune", "--yes", "pi-1"}, true, 130, "error: interrupted", "nothing to close"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := newOperatorSite(t, startSandbox(t, sandbox.Config{})).culvert(t, append([]string{"tunnels"}, c.args...)...)
			out, code := withSilentEndpoint(t, cmd, "AWS_ENDPOINT_URL_IOT", c.interrupt)
			if code != c.code || !strings.Contains(out, c.want) || strings.Contains(out, c.not) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.want, out)
			}
		})
	}
}
