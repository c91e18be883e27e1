package changes

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAnAddressThatComesAndGoesIsNoticed(t *testing.T) {
	const address = "192.0.2.77/32"
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan struct{}, 8)
	f, err := subscribe()
	if err != nil {
		t.Skip("the kernel does not tell of addresses here: ", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { addresses(ctx, f, func() { seen <- struct{}{} }) })
	defer watching.Wait()
	defer cancel()
	for _, what := range []string{"add", "del"} {
		if out, e := exec.CommandContext(ctx, "ip", "address", what, address, "dev", "lo").CombinedOutput(); e != nil {
			t.Skipf("addresses cannot be changed here: %v: %s", e, out)
		}
		select {
		case <-seen:
		case <-time.After(20 * time.Second):
			t.Errorf("%s was not noticed", what)
		}
	}
}

func TestBothEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	for _, watch := range []func(context.Context, func()){Addresses, Clock} {
		watching.Go(func() { watch(ctx, func() {}) })
	}
	<-time.After(50 * time.Millisecond)
	cancel()
	done := make(chan struct{})
	go func() { watching.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("they go on")
	}
}

func TestOwnListsWhatTheMachineHas(t *testing.T) {
	all, usable, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		addr := netip.MustParsePrefix(a.String()).Addr()
		if !slices.Contains(all, addr) {
			t.Errorf("%v is missing in %v", addr, all)
		}
		if addr.Is4() && !addr.IsLinkLocalUnicast() && !slices.Contains(usable, addr) {
			t.Errorf("%v is missing in %v", addr, usable)
		}
	}
	if len(all) != len(list) {
		t.Errorf("%v, and package net says %v", all, list)
	}
}

// announced is the kernel's message on an address (netlink(7), rtnetlink(7)).
func announced(flags byte, attributes map[uint16]string) []byte {
	body := []byte{unix.AF_INET6, 64, flags, 0, 0, 0, 0, 0} // struct ifaddrmsg
	for _, kind := range []uint16{unix.IFA_ADDRESS, unix.IFA_LOCAL} {
		if text, ok := attributes[kind]; ok {
			value := netip.MustParseAddr(text).AsSlice()
			body = binary.NativeEndian.AppendUint16(body, uint16(unix.SizeofRtAttr+len(value)))
			body = binary.NativeEndian.AppendUint16(body, kind)
			body = append(body, value...)
		}
	}
	head := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	head = binary.NativeEndian.AppendUint16(head, unix.RTM_NEWADDR)
	return append(append(head, make([]byte, unix.SizeofNlMsghdr-len(head))...), body...)
}

func TestWhichAddressesAMachineCanConnectFrom(t *testing.T) {
	for name, c := range map[string]struct {
		flags      byte
		attributes map[uint16]string
		all        string
		usable     bool
	}{
		"an ordinary one":             {unix.IFA_F_PERMANENT, map[uint16]string{unix.IFA_ADDRESS: "2001:db8::1"}, "2001:db8::1", true},
		"IPv4":                        {0, map[uint16]string{unix.IFA_ADDRESS: "192.0.2.1", unix.IFA_LOCAL: "192.0.2.1"}, "192.0.2.1", true},
		"one that may be taken":       {unix.IFA_F_TENTATIVE, map[uint16]string{unix.IFA_ADDRESS: "2001:db8::1"}, "2001:db8::1", false},
		"one that is taken":           {unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED, map[uint16]string{unix.IFA_ADDRESS: "2001:db8::1"}, "2001:db8::1", false},
		"a container's link":          {unix.IFA_F_PERMANENT, map[uint16]string{unix.IFA_ADDRESS: "fe80::1"}, "fe80::1", false},
		"no DHCP server answered":     {0, map[uint16]string{unix.IFA_ADDRESS: "169.254.7.7", unix.IFA_LOCAL: "169.254.7.7"}, "169.254.7.7", false},
		"one end of a point to point": {0, map[uint16]string{unix.IFA_ADDRESS: "10.64.64.64", unix.IFA_LOCAL: "10.1.2.3"}, "10.1.2.3", true},
	} {
		t.Run(name, func(t *testing.T) {
			all, usable, err := listed(announced(c.flags, c.attributes))
			if err != nil || len(all) != 1 || all[0].String() != c.all {
				t.Fatalf("%v, %v, want %s", all, err, c.all)
			}
			if got := len(usable) == 1; got != c.usable {
				t.Errorf("usable: %v, want %v", got, c.usable)
			}
		})
	}
}
