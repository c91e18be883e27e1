package changes

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// settle is how long further changes are waited for: one change of network makes several.
const settle = 300 * time.Millisecond

// Addresses calls changed after an address was added, removed or only renewed, as it is at each router's
// advertisement, until ctx ends. It returns early where the kernel does not tell (netlink(7), rtnetlink(7)).
func Addresses(ctx context.Context, changed func()) {
	if f, err := subscribe(); err == nil {
		addresses(ctx, f, changed)
	}
}

// Own lists the addresses of this machine. Those in usable are no link-local ones, which lead nowhere but to the next
// machine, and can be connected from: the kernel is not, or no longer, asking the network whether they are taken.
func Own() (all, usable []netip.Addr, err error) {
	table, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, nil, err
	}
	return listed(table)
}

// listed is Own of the kernel's answer.
func listed(table []byte) (all, usable []netip.Addr, err error) {
	messages, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return nil, nil, err
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, nil, err
		}
		var addr netip.Addr
		for _, a := range attributes {
			// Where both are given, as on a point-to-point link, IFA_ADDRESS is the other side's (rtnetlink(7)).
			if kind := a.Attr.Type; kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !addr.IsValid() {
				addr, _ = netip.AddrFromSlice(a.Value)
			}
		}
		if !addr.IsValid() {
			continue
		}
		all = append(all, addr)
		flags := m.Data[2] // of struct ifaddrmsg
		if flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 && !addr.IsLinkLocalUnicast() {
			usable = append(usable, addr)
		}
	}
	return all, usable, nil
}

// subscribe returns a socket on which the kernel reports each address that comes or goes from now on.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "netlink")
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// addresses is Addresses with f, which it closes.
func addresses(ctx context.Context, f *os.File, changed func()) {
	buf := make([]byte, 4<<10) // what is longer is cut, and not looked at anyway
	watch(ctx, f, func() bool {
		_, err := f.Read(buf)
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // ENOBUFS: messages were lost
			return false
		}
		if backoff.Sleep(ctx, settle) != nil {
			return false
		}
		_ = f.SetReadDeadline(time.Now())
		for err == nil {
			_, err = f.Read(buf)
		}
		_ = f.SetReadDeadline(time.Time{})
		changed()
		return true
	})
}

// Clock calls changed after the wall clock was set, until ctx ends (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func Clock(ctx context.Context, changed func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt32 * int64(time.Second))}
	watch(ctx, f, func() bool {
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil && !errors.Is(err, unix.ECANCELED) {
			return false
		}
		if _, err := f.Read(make([]byte, 8)); !errors.Is(err, unix.ECANCELED) {
			return false
		}
		changed()
		return true
	})
}

// watch calls step until it returns false or ctx ends, and closes f.
func watch(ctx context.Context, f *os.File, step func() bool) {
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	for ctx.Err() == nil && step() {
	}
	stop()
	_ = f.Close()
}
