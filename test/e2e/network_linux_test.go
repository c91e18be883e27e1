package e2e

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// network is a network of a test's own, with nothing but a loopback interface. What do runs, and the processes and
// sockets that it makes, are in it.
type network struct{ work chan func() }

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{work: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine, and the network with its users
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil { // so that servers can listen before there is an address
			err = os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte("1"), 0)
		}
		made <- err
		if err != nil {
			return
		}
		for f := range n.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Skipf("this machine gives a test no network of its own: %v", err)
	}
	t.Cleanup(func() {
		close(n.work)
		<-ended
	})
	return n
}

func (n *network) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { f(); close(done) }
	<-done
}

// up switches the interface on or off.
func (n *network) up(t *testing.T, up bool) {
	t.Helper()
	flags := uint16(0)
	if up {
		flags = unix.IFF_UP | unix.IFF_RUNNING
	}
	n.configure(t, unix.SIOCSIFFLAGS, flags)
}

// configure makes an ioctl on the interface, with the first word behind the name in struct ifreq.
func (n *network) configure(t *testing.T, call uintptr, word uint16) {
	t.Helper()
	var err error
	n.do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		var request [40]byte // struct ifreq
		copy(request[:], "lo")
		binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], word)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), call, uintptr(unsafe.Pointer(&request))); errno != 0 {
			err = errno
		}
	})
	if err != nil {
		t.Fatalf("configure the interface: %v", err)
	}
}

func (n *network) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	// The thread itself has to make the socket: a name would be resolved elsewhere.
	n.do(func() { c, err = new(net.Dialer).DialContext(ctx, network, address) })
	return c, err
}

// sourceBy is a source that dials the relay in a way of its own, once the tunnel answers.
func sourceBy(t *testing.T, box *sandbox.Sandbox, token string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *proxy.Source {
	t.Helper()
	source := proxy.NewSource(proxy.SourceConfig{
		Connection: proxy.Connection{
			Endpoint: box.RelayURL, AccessToken: secret.New(token), NetDial: dial,
			TLS: &tls.Config{RootCAs: box.CA.Pool(), MinVersion: tls.VersionTLS12},
		},
		Form: proxy.V3,
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = source.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-source.Done() })
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	return source
}

// Init systems promise a network and do not keep it. Later it may go for a while: what stands then stays, if it comes
// back before either end gave up.
func TestANetworkThatComesLateAndGoes(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	var (
		box  *sandbox.Sandbox
		echo string
		err  error
	)
	n.do(func() {
		echo = echoServer(t)
		box, err = sandbox.Start(context.Background(), sandbox.Config{Dir: shortDir(t), Services: map[string]string{"ECHO": echo}})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	culvertd(t) // built before, and not on the network's thread
	var d *daemon
	n.do(func() { d = startDaemon(t, files.ConfigFile) })
	if line := d.waitLog(t, "mqtt connection failed", 20*time.Second); !strings.Contains(line, "network is unreachable; no route: check the network") {
		t.Errorf("not explained: %s", line)
	}
	eventually(t, 60*time.Second, "it tries again", func() bool { return d.status(t).MQTT.Attempts > 2 })
	n.up(t, true)
	start := time.Now()
	d.waitLog(t, "mqtt subscribed", 60*time.Second)
	t.Logf("subscribed %v after the network was there", time.Since(start).Round(time.Millisecond))

	tunnel := openTunnel(t, box, d, "ECHO")
	source := sourceBy(t, box, tunnel.SourceToken, n.dial)
	live := startPulse(t, connectTo(t, source, "ECHO"))
	n.up(t, false)
	<-time.After(2 * time.Second)
	n.up(t, true)
	eventually(t, 60*time.Second, "the tunnel answers again", func() bool { return answers(source, "ECHO", 5*time.Second) })
	live.lived(t, "2 s without a network")
	if log := d.log(); strings.Contains(log, "tunnel lost") {
		t.Error("the tunnel was given up")
	}
}
