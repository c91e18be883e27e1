package e2e

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// withoutIPv4 takes the network's only IPv4 address away.
func (n *network) withoutIPv4(t *testing.T) {
	t.Helper()
	var err error
	n.do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		var request [40]byte // struct ifreq: name and a sockaddr_in of 0.0.0.0, which removes the address
		copy(request[:], "lo")
		binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], unix.AF_INET)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request))); errno != 0 {
			err = errno
		}
		if _, dialErr := net.DialTimeout("tcp4", "127.0.0.1:1", time.Second); err == nil && (dialErr == nil || !strings.Contains(dialErr.Error(), "unreachable")) {
			t.Errorf("IPv4 still works: %v", dialErr)
		}
	})
	if err != nil {
		t.Fatalf("remove the address: %v", err)
	}
}

// TestANetworkWithoutIPv4 runs the whole job where there is no IPv4 at all, not even on the loopback interface: broker,
// tunnel service and the service's target have IPv6 addresses.
func TestANetworkWithoutIPv4(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.up(t, true)
	n.withoutIPv4(t)
	var (
		box  *sandbox.Sandbox
		err  error
		echo net.Listener
	)
	n.do(func() {
		if echo, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return
		}
		_, port, _ := net.SplitHostPort(echo.Addr().String())
		box, err = sandbox.Start(context.Background(), sandbox.Config{
			Dir: shortDir(t), Listen: "::1", Services: map[string]string{"ECHO": "[::1]:" + port},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close(); _ = echo.Close() })
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	culvertd(t) // built before, and not on the network's thread
	var d *daemon
	n.do(func() { d = startDaemon(t, files.ConfigFile) })
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	tunnel := openTunnel(t, box, d, "ECHO")
	source := proxy.NewSource(proxy.SourceConfig{
		Connection: proxy.Connection{
			Endpoint: box.RelayURL, AccessToken: secret.New(tunnel.SourceToken),
			NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, _ := net.SplitHostPort(address)
				return n.dial(ctx, network, "[::1]:"+port)
			},
			TLS: &tls.Config{RootCAs: box.CA.Pool(), MinVersion: tls.VersionTLS12},
		},
		Form: proxy.V3,
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = source.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-source.Done() })
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
}
