//go:build !linux

package changes

import (
	"context"
	"net"
	"net/netip"
)

// Addresses waits until ctx ends.
func Addresses(ctx context.Context, _ func()) { <-ctx.Done() }

// Own lists the addresses of this machine. Those in usable are no link-local ones.
func Own() (all, usable []netip.Addr, err error) {
	list, err := net.InterfaceAddrs()
	for _, a := range list {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		all = append(all, prefix.Addr())
		if !prefix.Addr().IsLinkLocalUnicast() {
			usable = append(usable, prefix.Addr())
		}
	}
	return all, usable, err
}

// Clock waits until ctx ends.
func Clock(ctx context.Context, _ func()) { <-ctx.Done() }
