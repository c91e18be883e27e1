package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver is a name server on an address of its own, whose answers a test may change.
type resolver struct {
	address string // without the port, which is 53
	conn    net.PacketConn

	mu     sync.Mutex
	names  map[string]netip.Addr // a name that is missing does not exist
	answer dnsmessage.RCode      // of everything
	mute   bool
	asked  int
}

// startResolver runs a name server, which needs the right to port 53.
func startResolver(t *testing.T) *resolver {
	t.Helper()
	r := &resolver{names: map[string]netip.Addr{}}
	var err error
	for range 10 {
		// Another address each, since several tests may run at once.
		r.address = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
		if r.conn, err = net.ListenPacket("udp", net.JoinHostPort(r.address, "53")); err == nil {
			break
		}
	}
	if err != nil {
		t.Skipf("no name server can run here: %v", err)
	}
	var serving sync.WaitGroup
	serving.Go(r.serve)
	t.Cleanup(func() {
		_ = r.conn.Close()
		serving.Wait()
	})
	return r
}

// set changes what is answered from now on.
func (r *resolver) set(change func(*resolver)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

func (r *resolver) queries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *resolver) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := r.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		if out := r.reply(&m); out != nil {
			_, _ = r.conn.WriteTo(out, from)
		}
	}
}

// reply answers a question for an IPv4 address; a name has no others.
func (r *resolver) reply(m *dnsmessage.Message) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.mute {
		return nil
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: r.answer}
	m.Additionals = nil
	address, ok := r.names[strings.TrimSuffix(q.Name.String(), ".")]
	switch {
	case r.answer != dnsmessage.RCodeSuccess:
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 3600},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// startWith runs culvertd as on a machine whose /etc/resolv.conf names this server alone.
func (r *resolver) startWith(t *testing.T, config string) *daemon {
	t.Helper()
	unshare := requireProgram(t, "unshare")
	path := filepath.Join(shortDir(t), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver "+r.address+"\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const bind = `mount --bind "$0" /etc/resolv.conf`
	if out, err := exec.Command(unshare, "--mount", "sh", "-c", bind, path).CombinedOutput(); err != nil {
		t.Skipf("this machine gives no program a resolv.conf of its own: %v: %s", err, out)
	}
	return startCommand(t, config, exec.Command(unshare, "--mount", "sh", "-c", bind+` && exec "$@"`, path, culvertd(t), "--config", config))
}
