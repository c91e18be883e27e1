package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Targets that end their output early, while the tunnel's reader writes to them, leave nothing behind. The
// yields in each section without the lock bring about the rare orders of events. CULVERT_STRESS sets the
// number of connections.
func TestTargetsThatHalfCloseEarlyLeaveNothing(t *testing.T) {
	total, _ := strconv.Atoi(os.Getenv("CULVERT_STRESS"))
	if total == 0 {
		total = 2000
	}
	testYield = func() {
		for range rand.IntN(3) {
			runtime.Gosched()
		}
	}
	defer func() { testYield = nil }()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go closeEarly(l)
	near, far := newPair()
	d := NewDestination(DestinationConfig{
		Config:         Config{Transport: near},
		Dial:           func(context.Context, string) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) },
		DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
	})
	d.floods.starts.rate = 1e9 // it is not the point here
	served := make(chan error, 1)
	go func() { served <- d.Serve() }()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	left := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.conns)
	}
	payload := strings.Repeat("x", 2*directly)
	send := func(messages []byte) {
		if _, err := far.Write(messages); err != nil {
			t.Fatal(err)
		}
	}
	const batch = 16
	for i := 0; i < total; i += batch {
		var starts, data []string
		for n := i + 1; n <= i+batch; n++ {
			start := "CONNECTION_START"
			if n == 1 {
				start = "STREAM_START"
			}
			starts = append(starts, fmt.Sprintf("%s 1 X#%d", start, n))
			data = append(data, fmt.Sprintf("DATA 1 X#%d %s", n, payload))
		}
		send(frames(starts...))
		all := frames(data...)
		for range 4 {
			send(all)
		}
		for start := time.Now(); left() > maxConnections/2; time.Sleep(time.Millisecond) {
			if time.Since(start) > 2*drainTimeout {
				t.Fatalf("%d of %d connections left", left(), i+batch)
			}
		}
	}
	for start := time.Now(); left() > 0 && time.Since(start) < 2*lingerTimeout; time.Sleep(time.Millisecond) {
	}
	if n := left(); n > 0 {
		t.Errorf("%d of %d connections left", n, total)
	}
	_ = far.Close(closeNormal, "")
	<-served //nolint:errcheck // only the end counts
	checkEmpty(t, d.mux)
}

// closeEarly accepts connections, answers the first bytes of each, ends its output, and reads on to the end.
func closeEarly(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = c.Read(make([]byte, directly))
			_, _ = c.Write([]byte("done"))
			_ = c.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}
