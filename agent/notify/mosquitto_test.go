package notify

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/settings"
)

// TestMosquittoDeliversWhatComesAfterAnOversizedMessage publishes 1 MiB and then a notification while the
// device is away, and again while it is connected.
func TestMosquittoDeliversWhatComesAfterAnOversizedMessage(t *testing.T) {
	port := mosquitto(t)
	got := make(chan string, 4)
	run := func(during func()) {
		c := New(Config{
			ThingName: testThing, Broker: settings.Broker{Endpoint: "127.0.0.1", Port: port, ClientID: testID, PersistentSession: true},
			Dial: new(net.Dialer).DialContext,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = c.Run(ctx, func(n Notification) { got <- n.AccessToken.Reveal() })
		}()
		defer func() { cancel(); <-done }()
		select {
		case <-c.Ready():
		case <-time.After(10 * time.Second):
			t.Fatal("not subscribed: ", c.State().LastError)
		}
		during()
		<-time.After(100 * time.Millisecond) // for the acknowledgement
		if s := c.State(); s.LastError != "" {
			t.Errorf("the connection suffered: %s", s.LastError)
		}
	}
	wait := func(want string) {
		t.Helper()
		select {
		case s := <-got:
			if s != want {
				t.Errorf("got %q, want %q", s, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%q did not arrive", want)
		}
	}
	big := bytes.Repeat([]byte("x"), 1<<20)
	run(func() {
		publish(t, port, big)
		publish(t, port, note("while-connected"))
		wait("while-connected")
	})
	publish(t, port, big)
	publish(t, port, note("while-away"))
	run(func() { wait("while-away") })
	run(func() {}) // nothing is delivered again
	if len(got) != 0 {
		t.Errorf("delivered again: %q", <-got)
	}
}

// mosquitto starts a broker without TLS and returns its port.
func mosquitto(t *testing.T) int {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path = "/usr/sbin/mosquitto"; !exists(path) {
			t.Skip("mosquitto is not installed")
		}
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %d 127.0.0.1\nallow_anonymous true\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for range 100 {
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = conn.Close()
			return port
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func publish(t *testing.T, port int, payload []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "mosquitto_pub", "-p", fmt.Sprint(port), "-q", "1", "-t", testTopic, "-s")
	cmd.Stdin = strings.NewReader(string(payload))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
}
