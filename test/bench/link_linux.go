package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// queued is how many packets a link holds each way before it drops new ones: a second of the fastest capped path, and more.
const queued = 4096

// away makes a network name space for the device's programs. Its only way out is a link that this program plays between two
// TUN devices, packet by packet, so that it needs no netem, which not every kernel has. It needs root.
func away(ctx context.Context, p path) (place, error) {
	if os.Geteuid() != 0 {
		return place{}, errors.New("only root can make network name spaces")
	}
	id := os.Getpid() % 16384
	space := fmt.Sprintf("culvert-peers-%d", id)
	near, far := fmt.Sprintf("cvn%d", id), fmt.Sprintf("cvf%d", id)
	// 198.18.0.0/15 is for measurements like this one (RFC 2544).
	base := fmt.Sprintf("198.18.%d.%d", id/64, id%64*4)
	host := func(n int) string { return base[:strings.LastIndexByte(base, '.')+1] + fmt.Sprint(id%64*4+n) }
	inside := []string{"ip", "netns", "exec", space}

	ctx, cancel := context.WithCancel(ctx)
	var tuns []*os.File
	closeAll := func() {
		cancel()
		for _, f := range tuns {
			_ = f.Close()
		}
		_ = exec.CommandContext(context.WithoutCancel(ctx), "ip", "netns", "del", space).Run()
	}
	for _, name := range []string{near, far} {
		f, err := openTUN(name)
		if err != nil {
			closeAll()
			return place{}, err
		}
		tuns = append(tuns, f)
	}
	for _, line := range []string{
		"netns add " + space,
		"link set " + far + " netns " + space,
		"addr add " + host(1) + "/30 dev " + near,
		"link set " + near + " up",
		"-n " + space + " addr add " + host(2) + "/30 dev " + far,
		"-n " + space + " link set " + far + " up",
		"-n " + space + " link set lo up",
	} {
		if said, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			closeAll()
			return place{}, fmt.Errorf("ip %s: %w: %s", line, err, said)
		}
	}
	go carry(ctx, tuns[0], tuns[1], p)
	go carry(ctx, tuns[1], tuns[0], p)
	return place{relay: host(1), device: host(2), prefix: inside, close: closeAll}, nil
}

// openTUN makes a TUN device, which lasts as long as the file is open.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make the TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry takes packets from one end to the other, late and not all of them, until an end is closed.
func carry(ctx context.Context, from, to *os.File, p path) {
	type packet struct {
		due  time.Time
		data []byte
	}
	line := make(chan packet, queued)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case next := <-line:
				if backoff.Sleep(ctx, time.Until(next.due)) != nil {
					return
				}
				if _, err := to.Write(next.data); errors.Is(err, os.ErrClosed) {
					return
				}
			}
		}
	}()
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || rand.Float64() < p.loss { //nolint:gosec // chance, no secret
			continue
		}
		select {
		case line <- packet{time.Now().Add(p.rtt / 2), append([]byte(nil), buf[:n]...)}:
		default: // a full queue drops
		}
	}
}
