package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// faulty is a device with the service ECHO, over which a pulse goes, and the service APP, which misbehaves.
type faulty struct {
	*device
	pulse *pulse
}

func startFaulty(t *testing.T, app string) *faulty {
	t.Helper()
	d := &device{box: startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t), "APP": app}})}
	files, err := d.box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d.daemon = startDaemon(t, files.ConfigFile)
	d.daemon.waitLog(t, "mqtt subscribed", 20*time.Second)
	d.tunnel = openTunnel(t, d.box, d.daemon, "ECHO", "APP")
	d.source = startSource(t, d.box, d.tunnel.SourceToken, proxy.V3)
	d.comesBack(t, 20*time.Second)
	return &faulty{d, startPulse(t, connectTo(t, d.source, "ECHO"))}
}

// ends waits for the end of a connection that says nothing, and returns how long that took.
func ends(t testing.TB, c net.Conn, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	_ = c.SetDeadline(start.Add(limit))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection did not end within %v: %d bytes, %v", limit, n, err)
	}
	return time.Since(start)
}

// A target that is down is reported at once, and works from the first connection after its start.
func TestAServiceThatIsDownThenUp(t *testing.T) {
	t.Parallel()
	address := freePort(t, ownLoopback())
	d := startFaulty(t, address)
	mark := d.daemon.mark()
	for range 3 {
		took := ends(t, connectTo(t, d.source, "APP"), 10*time.Second)
		t.Logf("refused after %v", took.Round(time.Millisecond))
	}
	line := d.daemon.waitLogFrom(t, mark, "connection refused", 5*time.Second)
	if !strings.Contains(line, address) || !strings.Contains(line, "start the program") {
		t.Errorf("the refusal does not say what to do: %s", line)
	}
	if n := strings.Count(d.daemon.log()[mark:], "connection refused"); n != 1 {
		t.Errorf("three refusals are %d lines of the log, want 1", n)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("the port was taken by another program: %v", err)
	}
	defer l.Close()
	go serveEcho(l)
	if !answers(d.source, "APP", 10*time.Second) {
		t.Error("the first connection after the program's start does not work")
	}
	d.pulse.lived(t, "a program that is down")
}

func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// A target that accepts and then closes ends that connection alone, after what it sent.
func TestAServiceThatAcceptsAndCloses(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*net.TCPConn){
		"with a reset": func(c *net.TCPConn) { _ = c.SetLinger(0) },
		"in order":     func(*net.TCPConn) {},
		"after a word": func(c *net.TCPConn) { _, _ = c.Write([]byte("no")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startFaulty(t, server(t, func(c net.Conn) { end(c.(*net.TCPConn)) }))
			var longest time.Duration
			for range 50 {
				c := connectTo(t, d.source, "APP")
				if name == "after a word" {
					_ = c.SetDeadline(time.Now().Add(10 * time.Second))
					if said, err := io.ReadAll(c); string(said) != "no" || err != nil {
						t.Fatalf("read %q, %v", said, err)
					}
					continue
				}
				longest = max(longest, ends(t, c, 10*time.Second))
			}
			t.Logf("50 connections ended, the slowest within %v", longest.Round(time.Millisecond))
			if log := d.daemon.log(); strings.Contains(log, "tunnel lost") {
				t.Error("the tunnel was given up")
			}
			d.pulse.lived(t, "connections that are closed "+name)
		})
	}
}

// Between two Culverts each connection has its own credit: such a program stops its own connection, for any time,
// and nothing else.
func TestAServiceThatAcceptsAndNeverReads(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	d := startFaulty(t, server(t, func(net.Conn) { <-release }))
	defer close(release)
	before := residentMemory(t, d.daemon.Cmd.Process.Pid)
	c := connectTo(t, d.source, "APP")
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = io.Copy(c, random(1)) })
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		d.comesBack(t, 10*time.Second)
	}
	grown := residentMemory(t, d.daemon.Cmd.Process.Pid) - before
	t.Logf("the daemon has grown by %.1f MB", float64(grown)/1e6)
	if log := d.daemon.log(); strings.Contains(log, "connection reset") {
		t.Error("a connection was reset for it")
	}
	_ = c.Close()
	writing.Wait()
	if grown > 16<<20 {
		t.Errorf("the daemon has grown by %d bytes", grown)
	}
	d.comesBack(t, 10*time.Second)
	d.pulse.lived(t, "a program that never reads")
	if longest, _ := d.pulse.stop(); longest > 5*time.Second {
		t.Errorf("another connection was held up for %v", longest)
	}
}

// The target writes as fast as the kernel allows: the operator's pace must slow it, and the daemon must not grow.
func TestAServiceThatWritesWithoutEnd(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	d := startFaulty(t, server(t, func(c net.Conn) {
		block := make([]byte, 1<<20)
		for {
			if _, err := c.Write(block); err != nil {
				ended <- struct{}{}
				return
			}
		}
	}))
	before := residentMemory(t, d.daemon.Cmd.Process.Pid)
	c := connectTo(t, d.source, "APP")
	start := time.Now()
	const size = 256 << 20
	_ = c.SetDeadline(start.Add(2 * time.Minute))
	if _, err := io.CopyN(io.Discard, c, size); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	grown := residentMemory(t, d.daemon.Cmd.Process.Pid) - before
	t.Logf("%d MB at %.0f MB/s; the daemon has grown by %.1f MB", size>>20, size/1e6/took.Seconds(), float64(grown)/1e6)
	if grown > 16<<20 {
		t.Errorf("the daemon has grown by %d bytes", grown)
	}
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the writer was not told of its reader's end")
	}
	d.pulse.lived(t, "a program that writes without end")
}

// Programs replace their socket when they restart: the path counts, not the file that was there at the start.
func TestASocketFileThatIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "app.sock")
	first, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go serveEcho(first)
	d := startFaulty(t, "unix:"+path)
	live := connectTo(t, d.source, "APP")
	if err := exchangeByteWithin(live, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	_ = first.Close() // and removes the file
	ends(t, connectTo(t, d.source, "APP"), 10*time.Second)
	if line := d.daemon.waitLog(t, "connection refused", 5*time.Second); !strings.Contains(line, "there is no such socket") {
		t.Errorf("the refusal does not say what is wrong: %s", line)
	}
	second, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	go serveEcho(second)
	if !answers(d.source, "APP", 10*time.Second) {
		t.Error("the new socket is not used")
	}
	if err := exchangeByteWithin(live, 10*time.Second); err != nil {
		t.Errorf("the connection to the old socket: %v", err)
	}
	d.pulse.lived(t, "a socket that is replaced")
}

// A hundred at once, so that ends and starts meet: each connection ends with its own error.
func TestManyConnectionsToAServiceThatIsDown(t *testing.T) {
	t.Parallel()
	d := startFaulty(t, "127.0.0.1:1")
	var all sync.WaitGroup
	for range 100 {
		c := connectTo(t, d.source, "APP")
		all.Go(func() { ends(t, c, 20*time.Second) })
	}
	all.Wait()
	if n := strings.Count(d.daemon.log(), "connection refused"); n != 1 {
		t.Errorf("a hundred refusals are %d lines of the log, want 1", n)
	}
	d.pulse.lived(t, "a hundred refusals")
}
