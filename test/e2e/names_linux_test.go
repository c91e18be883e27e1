package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// A target's name is looked up for each connection, whatever the TTL of an earlier answer.
func TestAServiceWhoseNameMoves(t *testing.T) {
	t.Parallel()
	names := startResolver(t)
	says := func(address, word string) (port string) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("cannot listen on %s: %v", address, err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(word))
				go func() { // until the far side ends it
					_, _ = c.Read(make([]byte, 1))
					_ = c.Close()
				}()
			}
		}()
		_, port, _ = net.SplitHostPort(l.Addr().String())
		return port
	}
	port := says("127.0.0.2:0", "old")
	says("127.0.0.3:"+port, "new")
	names.set(func(r *resolver) { r.names["app.example"] = netip.MustParseAddr("127.0.0.2") })

	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t), "APP": "app.example:" + port}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := names.startWith(t, files.ConfigFile)
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	tunnel := openTunnel(t, box, d, "ECHO", "APP")
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	live := startPulse(t, connectTo(t, source, "ECHO"))

	hears := func() string {
		c := connectTo(t, source, "APP")
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		word := make([]byte, 3)
		n, _ := c.Read(word)
		return string(word[:n])
	}
	for _, step := range []struct {
		name   string
		change func(*resolver)
		hears  string
		log    string
	}{
		{"at first", func(*resolver) {}, "old", ""},
		{"after the name moved", func(r *resolver) { r.names["app.example"] = netip.MustParseAddr("127.0.0.3") }, "new", ""},
		{"without a name server", func(r *resolver) { r.mute = true }, "", "the host name does not resolve"},
		{"with one again", func(r *resolver) { r.mute = false }, "new", ""},
		{"at an address that names may not lead to", func(r *resolver) { r.names["app.example"] = netip.MustParseAddr("169.254.169.254") }, "", ""},
		{"back where it was", func(r *resolver) { r.names["app.example"] = netip.MustParseAddr("127.0.0.2") }, "old", ""},
	} {
		names.set(step.change)
		start := time.Now()
		if got := hears(); got != step.hears {
			t.Errorf("%s: heard %q, want %q", step.name, got, step.hears)
		}
		t.Logf("%s: %q after %v", step.name, step.hears, time.Since(start).Round(time.Millisecond))
		if step.log != "" {
			d.waitLog(t, step.log, 5*time.Second)
		}
	}
	live.lived(t, "a name that moves")
}

// A device often starts before its network: the name server does not answer, then denies the name, then knows it.
func TestTheBrokersNameResolvesLate(t *testing.T) {
	t.Parallel()
	names := startResolver(t)
	names.set(func(r *resolver) { r.mute = true })
	box := startSandbox(t, sandbox.Config{Advertise: "broker.example", Names: []string{"broker.example"}, Services: map[string]string{"ECHO": echoServer(t)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := names.startWith(t, files.ConfigFile)
	line := d.waitLog(t, "no answer from DNS: check the network and the name servers", 30*time.Second)
	if !strings.Contains(line, "broker.example") {
		t.Errorf("the name is not told: %s", line)
	}
	asked := names.queries()
	names.set(func(r *resolver) { r.mute, r.answer = false, dnsmessage.RCodeServerFailure })
	eventually(t, 30*time.Second, "it asks again", func() bool { return names.queries() > asked })
	names.set(func(r *resolver) { r.answer = dnsmessage.RCodeSuccess })
	d.waitLog(t, "the name does not exist: check mqtt.endpoint", 40*time.Second)

	names.set(func(r *resolver) { r.names["broker.example"] = netip.MustParseAddr("127.0.0.1") })
	start := time.Now()
	d.waitLog(t, "mqtt subscribed", 60*time.Second)
	t.Logf("subscribed %v after the name resolved", time.Since(start).Round(time.Millisecond))
	tunnel := openTunnel(t, box, d, "ECHO")
	d.waitLog(t, "tunnel connected "+sessionOf(tunnel.DestinationToken), 10*time.Second)

	// The name fails once more, now for the tunnel: it comes back when the name does.
	names.set(func(r *resolver) { r.answer = dnsmessage.RCodeServerFailure })
	mark := d.mark()
	eventually(t, 10*time.Second, "the relay has the tunnel, and cuts it", func() bool { return box.Relay.Faults().Cut(destinationSide) == 1 })
	d.waitLogFrom(t, mark, "tunnel lost", 10*time.Second)
	d.waitLogFrom(t, mark, "tunnel not connected", 20*time.Second)
	names.set(func(r *resolver) { r.answer = dnsmessage.RCodeSuccess })
	start = time.Now()
	d.waitLogFrom(t, mark, "tunnel connected", 60*time.Second)
	t.Logf("the tunnel stood %v after the name resolved", time.Since(start).Round(time.Millisecond))
}
