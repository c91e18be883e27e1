package services

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
)

// hang is a target that never answers.
func hang(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAHostNameIsTriedOnAllItsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "printer:9100"}})
		table.net.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "printer" {
				t.Errorf("resolved %q", host)
			}
			return []netip.Addr{
				netip.MustParseAddr("2001:db8::1"), // hangs
				netip.MustParseAddr("169.254.3.4"), // must be left out
				netip.MustParseAddr("10.0.0.1"),    // refuses
				netip.MustParseAddr("::ffff:10.0.0.2"),
			}, nil
		}
		var tried []string
		table.net.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			tried = append(tried, address)
			switch address {
			case "[2001:db8::1]:9100":
				return hang(ctx, network, address)
			case "10.0.0.1:9100":
				return nil, syscall.ECONNREFUSED
			}
			c, _ := net.Pipe()
			return c, nil
		}
		start := time.Now()
		c := mustDial(t, table, "a")
		defer c.Close()
		if diff := cmp.Diff([]string{"[2001:db8::1]:9100", "10.0.0.1:9100", "10.0.0.2:9100"}, tried); diff != "" {
			t.Error(diff)
		}
		if d := time.Since(start); d != 5*time.Second/3 {
			t.Errorf("the address that hangs got %v, a third of 5s is its share", d)
		}
	})
}

func TestConnectTimeoutBoundsAllOfADial(t *testing.T) {
	tests := []struct {
		name    string
		address string
		resolve func(context.Context, string) ([]netip.Addr, error)
	}{
		{"one address that does not answer", "10.0.0.1:22", nil},
		{"several addresses that do not answer", "h:22", func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}, nil
		}},
		{"a resolver that does not answer", "h:22", func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := NewTable([]Service{{Name: "a", Network: "tcp", Address: tt.address}})
				table.SetConnectTimeout(3 * time.Second)
				table.net.resolve, table.net.dial = tt.resolve, hang
				start := time.Now()
				_, err := table.Dial(t.Context(), "a")
				if d := time.Since(start); d != 3*time.Second {
					t.Errorf("returned after %v", d)
				}
				want := `service "a" at ` + tt.address + ` did not answer within 3s; check that the host is up and that no firewall drops the connection`
				if kindOf(err) != Timeout || hint.Line(err) != want {
					t.Errorf("%v: %v", kindOf(err), err)
				}
				if table.Active("a") != 0 {
					t.Error("the failed dial holds a place")
				}
			})
		})
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "10.0.0.1:22"}})
		table.net.dial = hang
		reason := errors.New("the stream was reset")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(reason) })
		if _, err := table.Dial(ctx, "a"); !errors.Is(err, reason) || kindOf(err) != Other {
			t.Errorf("err = %v", err)
		}
	})
}

func TestANameMustNotLeadToReservedAddresses(t *testing.T) {
	for addr, want := range map[string]Kind{
		"169.254.169.254": Forbidden, "::ffff:169.254.169.254": Forbidden, "fe80::1": Forbidden, "fe80::1%eth0": Forbidden, "febf::1": Forbidden,
		"fd00:ec2::254": Forbidden, "127.0.0.1": -1, "10.1.2.3": -1, "192.168.0.1": -1, "fd00::1": -1, "2001:db8::1": -1, "169.253.0.1": -1,
		// What reaches this host, whatever else the resolver says it is.
		"0.0.0.0": Forbidden, "::": Forbidden, "0.1.2.3": Forbidden, "::ffff:0.0.0.0": Forbidden, "::1": -1,
		"fd20:ce::254": Forbidden, "168.63.129.16": Forbidden, "100.100.100.200": Forbidden, "100.100.100.201": -1,
		// Forms of IPv6 that become IPv4 on the way.
		"64:ff9b::a9fe:a9fe": Forbidden, "64:ff9b:1::169.254.169.254": Forbidden, "64:ff9b::10.1.2.3": -1, "::169.254.1.1": Forbidden,
		"::ffff:0:169.254.1.1": Forbidden, "2002:a9fe:a9fe::1": Forbidden, "2002:a01:203::1": -1, "64:ff9b::": Forbidden,
		// NAT64 of a network's own, with prefixes of 96, 48, 56 and 64 bits.
		"64:ff9b:1:abcd:1:2:169.254.169.254": Forbidden, "64:ff9b:1:abcd:1:2:10.1.2.3": -1, "64:ff9b:1:a9fe:a9:fe00::": Forbidden, "64:ff9b:1:a0a:a:a00::": -1,
		"64:ff9b:1:12a9:fe:a9fe::": Forbidden, "64:ff9b:1:1234:a9:fea9:fe00:1": Forbidden, "64:ff9b:1:1234:a:102:300:1": -1, "64:ff9b:1::10.1.2.3": -1,
		"fd00:c1::a9fe:a9fe": Forbidden, "192.0.0.192": Forbidden, "192.0.0.193": -1, "2002:0:1::1": Forbidden,
	} {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "evil.example:80"}})
		pipes(table)
		table.net.resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(addr)}, nil
		}
		c, err := table.Dial(t.Context(), "a")
		if kindOf(err) != want {
			t.Errorf("%s: %v", addr, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

// DNS may give another answer each time: what was checked is what is dialled, and a name
// that has been good is looked at again.
func TestANameThatLaterLeadsToAReservedAddressIsRefusedThen(t *testing.T) {
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "rebind.example:80"}})
	answers := []string{"10.0.0.1", "169.254.169.254", "10.0.0.2", "::ffff:169.254.169.254", "fe80::1%lo"}
	asked := 0
	table.net.resolve = func(context.Context, string) ([]netip.Addr, error) {
		asked++
		return []netip.Addr{netip.MustParseAddr(answers[asked-1])}, nil
	}
	var tried []string
	table.net.dial = func(_ context.Context, _, a string) (net.Conn, error) {
		tried = append(tried, a)
		c, _ := net.Pipe()
		return c, nil
	}
	for i := range answers {
		c, err := table.Dial(t.Context(), "a")
		if want := i == 0 || i == 2; (err == nil) != want {
			t.Errorf("%s: %v", answers[i], err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
	if diff := cmp.Diff([]string{"10.0.0.1:80", "10.0.0.2:80"}, tried); diff != "" {
		t.Errorf("dialled: %s", diff)
	}
	if asked != len(answers) {
		t.Errorf("%d look-ups, want one a dial", asked)
	}
	if got := table.Refused("a"); got[Forbidden] != 3 || len(got) != 1 {
		t.Errorf("refused: %v", got)
	}
}

func TestRefusalsAreCountedByTheirReason(t *testing.T) {
	table := NewTable([]Service{
		{Name: "one", Network: "tcp", Address: "10.0.0.1:80", MaxConnections: 1}, {Name: "off", Disabled: true}, {Name: "down", Network: "tcp", Address: "10.0.0.2:80"},
	})
	table.net.dial = func(_ context.Context, _, a string) (net.Conn, error) {
		if a == "10.0.0.2:80" {
			return nil, syscall.ECONNREFUSED
		}
		c, _ := net.Pipe()
		return c, nil
	}
	open := mustDial(t, table, "one")
	defer open.Close()
	for _, name := range []string{"one", "one", "off", "down", "nobody", "anybody", "another"} {
		if _, err := table.Dial(t.Context(), name); err == nil {
			t.Errorf("%s was connected", name)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = table.Dial(gone, "down") // the caller gave up: nothing was refused
	for name, want := range map[string]map[Kind]uint64{
		"one": {Full: 2}, "off": {Disabled: 1}, "down": {Refused: 1}, "": {Unknown: 3}, "nobody": nil, // a flood of names leaves no trace
	} {
		if diff := cmp.Diff(want, table.Refused(name)); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
}

func TestAReservedAddressThatIsWrittenOutIsDialled(t *testing.T) {
	for _, address := range []string{"169.254.169.254:80", "[fe80::1%eth0]:80"} {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: address}})
		var tried string
		table.net.dial = func(_ context.Context, _, a string) (net.Conn, error) { tried = a; return nil, io.EOF }
		_, _ = table.Dial(t.Context(), "a")
		if tried != address {
			t.Errorf("%s: dialled %q", address, tried)
		}
	}
}

func TestLocalhostAsksNoResolver(t *testing.T) {
	for _, host := range []string{"localhost", "LocalHost", "localhost."} {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: host + ":80"}})
		table.net.resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		}
		var tried []string
		table.net.dial = func(_ context.Context, _, a string) (net.Conn, error) {
			tried = append(tried, a)
			return nil, io.EOF
		}
		_, _ = table.Dial(t.Context(), "a")
		if diff := cmp.Diff([]string{"127.0.0.1:80", "[::1]:80"}, tried); diff != "" {
			t.Errorf("%s: %s", host, diff)
		}
	}
}

func TestErrorsOfRealTargetsNameTheRemedy(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	stale := filepath.Join(dir, "stale")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUnlinkOnClose(false)
	_ = u.Close()
	tests := []struct {
		name    string
		service Service
		kind    Kind
		is      error
		want    string
	}{
		{
			"a closed port",
			Service{Network: "tcp", Address: closed},
			Refused, syscall.ECONNREFUSED,
			`service "a" at ` + closed + ` refused the connection; start the program that should listen there, or correct the target`,
		},
		{
			"a socket without a listener",
			Service{Network: "unix", Address: stale},
			Refused, syscall.ECONNREFUSED,
			`service "a" at unix:` + stale + ` refused the connection; start the program that should listen there, or correct the target`,
		},
		{
			"a socket that does not exist",
			Service{Network: "unix", Address: dir + "/none"},
			Other, syscall.ENOENT,
			`service "a" at unix:` + dir + `/none: there is no such socket; start the program that makes it, or correct the path`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.service.Name = "a"
			_, err := NewTable([]Service{tt.service}).Dial(t.Context(), "a")
			if err == nil {
				t.Fatal("connected")
			}
			if diff := cmp.Diff(tt.want, hint.Line(err)); diff != "" {
				t.Error(diff)
			}
			if kindOf(err) != tt.kind || !errors.Is(err, tt.is) {
				t.Errorf("kind %v, error %v", kindOf(err), err)
			}
		})
	}
}

func TestANameThatDoesNotResolve(t *testing.T) {
	const local = "names in .local are found by mDNS, and this program asks DNS and /etc/hosts alone; write the address, or put the name into /etc/hosts"
	for host, advice := range map[string]string{
		"nope.invalid":      "correct it, or write an address",
		"local":             "correct it, or write an address",
		"printer.local.lan": "correct it, or write an address",
		"printer.local":     local,
		"Printer.LOCAL.":    local,
	} {
		table := NewTable([]Service{{Name: "a", Network: "tcp", Address: host + ":22"}})
		table.net.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		_, err := table.Dial(t.Context(), "a")
		want := `service "a" at ` + host + `:22: the host name does not resolve: lookup ` + host + `: no such host; ` + advice
		if kindOf(err) != Resolve || hint.Line(err) != want {
			t.Errorf("%v: %v", kindOf(err), hint.Line(err))
		}
	}
}

func TestRefusalIsToldBeforeATimeOut(t *testing.T) {
	table := NewTable([]Service{{Name: "a", Network: "tcp", Address: "h:22"}})
	table.net.resolve = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.1")}, nil
	}
	table.net.dial = func(_ context.Context, _, a string) (net.Conn, error) {
		if strings.HasPrefix(a, "[") {
			return nil, syscall.ENETUNREACH
		}
		return nil, syscall.ECONNREFUSED
	}
	if _, err := table.Dial(t.Context(), "a"); kindOf(err) != Refused {
		t.Errorf("%v: %v", kindOf(err), err)
	}
}

func TestEveryKindHasAName(t *testing.T) {
	seen := make(map[string]Kind)
	for k := Other; k <= Forbidden; k++ {
		if other, dup := seen[k.String()]; dup {
			t.Errorf("kinds %d and %d are both %q", other, k, k)
		}
		seen[k.String()] = k
	}
}
