package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// floodTunnels is how many tunnels the daemon has beside a flood: as many as max_tunnels allows.
const floodTunnels = 8

// floodBed is a daemon with tunnels. The first one carries typing, the others carry the flood.
type floodBed struct {
	*subject
	tunnels []tunnels.Opened
}

func startFloodBed(b *testing.B) *floodBed {
	b.Helper()
	// With a thread for each core that this process may use, which is one, typing would wait for the flood
	// in this process's scheduler.
	before := runtime.GOMAXPROCS(16)
	b.Cleanup(func() { runtime.GOMAXPROCS(before) })
	over := make(chan struct{})
	idle := func(net.Conn) { <-over }
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	_ = closed.Close()
	services := map[string]string{
		"ECHO":   lightEcho(b),
		"CLOSED": closed.Addr().String(),
		"DEAF":   server(b, idle),
		"SINK":   server(b, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
		"GUSH":   server(b, func(c net.Conn) { _, _ = io.Copy(c, zeros{}) }),
	}
	f := &floodBed{subject: &subject{box: startSandbox(b, sandbox.Config{Services: services})}}
	b.Cleanup(func() { close(over) }) // before the servers' own
	files, err := f.box.Device("pi-1")
	if err != nil {
		b.Fatal(err)
	}
	pinned := exec.Command("taskset", "-c", "0", culvertd(b), "--config", files.ConfigFile)
	f.daemon = startCommand(b, files.ConfigFile, pinned)
	f.daemon.waitLog(b, "mqtt subscribed", 20*time.Second)
	for range floodTunnels {
		opened := openTunnel(b, f.box, f.daemon, "ECHO", "CLOSED", "DEAF", "SINK", "GUSH")
		source := startSource(b, f.box, opened.SourceToken, proxy.V3)
		eventually(b, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
		f.tunnels, f.sources = append(f.tunnels, opened), append(f.sources, source)
	}
	return f
}

// culprit is the device's end of the tunnel that floods.
func (f *floodBed) culprit() relay.Target {
	return relay.Target{Tunnel: f.tunnels[1].Tunnel.ID, Side: tunnels.Destination}
}

// send has the relay send frames to the device, in messages as large as may be, until the flood is over.
// next returns the frames, from the number of those sent so far.
func (f *floodBed) send(over <-chan struct{}, next func(i int) frame.Message) {
	faults, i := f.box.Relay.Faults(), 0
	for {
		var message []byte
		for {
			m := next(i)
			longer, err := m.AppendFrame(message)
			if err != nil || len(longer) > frame.MaxWebsocketMessage {
				break
			}
			message = longer
			i++
		}
		select {
		case <-over:
			return
		default:
			faults.SendRaw(f.culprit(), false, message)
		}
	}
}

func start(kind frame.Type, service string) func(i int) frame.Message {
	return func(i int) frame.Message {
		m := frame.Message{Type: kind, StreamID: 1000, ServiceID: service, ConnectionID: uint32(i + 2)}
		if kind == frame.StreamStart {
			m.StreamID, m.ConnectionID = int32(i+1000), 1
		}
		return m
	}
}

// repeat has the relay send one frame to the device again and again, in messages as large as may be, until
// the flood is over. They are made once, so that making them takes nothing from the relay.
func (f *floodBed) repeat(b *testing.B, over <-chan struct{}, m frame.Message) {
	b.Helper()
	message := repeated(b, m)
	for {
		select {
		case <-over:
			return
		default:
			f.box.Relay.Faults().SendRaw(f.culprit(), false, message)
		}
	}
}

// data has the relay send payloads of a size to a new connection of a service.
func (f *floodBed) data(b *testing.B, over <-chan struct{}, service string, size int) {
	b.Helper()
	m := frame.Message{Type: frame.StreamStart, StreamID: 2000, ServiceID: service, ConnectionID: 1}
	f.box.Relay.Faults().SendMessage(f.culprit(), m)
	m.Type, m.Payload = frame.Data, make([]byte, size)
	f.repeat(b, over, m)
}

// floods are the work of the other tunnels during the typing.
var floods = []struct {
	name string
	run  func(b *testing.B, f *floodBed, over <-chan struct{})
}{
	{"nothing", func(_ *testing.B, _ *floodBed, over <-chan struct{}) { <-over }},
	{"connections-to-a-closed-port", func(_ *testing.B, f *floodBed, over <-chan struct{}) {
		f.send(over, start(frame.ConnectionStart, "CLOSED"))
	}},
	{"streams-to-a-closed-port", func(_ *testing.B, f *floodBed, over <-chan struct{}) {
		f.send(over, start(frame.StreamStart, "CLOSED"))
	}},
	{"connections-to-a-port", func(_ *testing.B, f *floodBed, over <-chan struct{}) {
		f.send(over, start(frame.ConnectionStart, "SINK"))
	}},
	{"data-of-1-byte", func(b *testing.B, f *floodBed, over <-chan struct{}) { f.data(b, over, "SINK", 1) }},
	{"data-of-60-kB", func(b *testing.B, f *floodBed, over <-chan struct{}) { f.data(b, over, "SINK", 60_000) }},
	{"data-to-a-stalled-target", func(b *testing.B, f *floodBed, over <-chan struct{}) { f.data(b, over, "DEAF", 60_000) }},
	{"data-of-a-dead-stream", func(b *testing.B, f *floodBed, over <-chan struct{}) {
		f.repeat(b, over, frame.Message{Type: frame.Data, StreamID: 77, ServiceID: "SINK", ConnectionID: 77, Payload: []byte("x")})
	}},
	{"resets", func(b *testing.B, f *floodBed, over <-chan struct{}) {
		f.repeat(b, over, frame.Message{Type: frame.ConnectionReset, StreamID: 77, ServiceID: "SINK", ConnectionID: 77})
	}},
	{"seven-tunnels-fill-the-memory", func(b *testing.B, f *floodBed, over <-chan struct{}) {
		var all sync.WaitGroup
		// This measures the daemon's memory. Filling megabytes of each client's kernel buffers would take the core from
		// the typing.
		narrow := func(s *proxy.Source, service string) net.Conn {
			c := connectTo(b, s, service).(*net.TCPConn)
			_ = c.SetWriteBuffer(64 << 10)
			_ = c.SetReadBuffer(64 << 10)
			return c
		}
		for _, s := range f.sources[1:] {
			narrow(s, "GUSH") // without a reader
			for range 8 {
				c := narrow(s, "DEAF")
				all.Go(func() { _, _ = io.Copy(c, zeros{}) })
				all.Go(func() { <-over; _ = c.Close() })
			}
		}
		all.Wait()
	}},
	{"2000-stalled-targets", func(_ *testing.B, f *floodBed, over <-chan struct{}) {
		const targets = 2000
		payload := make([]byte, 60_000)
		f.send(over, func(i int) frame.Message {
			c := uint32(i%targets + 1)
			switch {
			case i == 0:
				return frame.Message{Type: frame.StreamStart, StreamID: 3000, ServiceID: "DEAF", ConnectionID: c}
			case i < targets:
				return frame.Message{Type: frame.ConnectionStart, StreamID: 3000, ServiceID: "DEAF", ConnectionID: c}
			}
			return frame.Message{Type: frame.Data, StreamID: 3000, ServiceID: "DEAF", ConnectionID: c, Payload: payload}
		})
	}},
	{"notifications", func(b *testing.B, f *floodBed, over <-chan struct{}) {
		tick := time.NewTicker(time.Millisecond) // ten times what AWS delivers to a client
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			payload, err := json.Marshal(map[string]any{
				"clientAccessToken": fmt.Sprintf("bogus-%d-", i) + strings.Repeat("x", 500), "clientMode": "destination",
				"region": "eu-west-1", "services": []string{"ECHO"},
			})
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = f.box.Broker.Publish(notifyTopic, payload, 1)
		}
	}},
}

// BenchmarkFloods reports how long a keystroke's echo takes in one tunnel while others flood the daemon, and
// what that has of memory, kernel memory for sockets, and log. Run it on two cores, with the daemon alone on
// the first: taskset -c 1 go test -run '^$' -bench Floods -benchtime 1x ./test/e2e
func BenchmarkFloods(b *testing.B) {
	for _, flood := range floods {
		b.Run(flood.name, func(b *testing.B) {
			for b.Loop() {
				f := startFloodBed(b)
				live := connectTo(b, f.sources[0], "ECHO")
				sockets, logged := socketMemory(b), len(f.daemon.log())
				used := processorTime(b, f.pid())
				over := make(chan struct{})
				var all sync.WaitGroup
				all.Go(func() { flood.run(b, f, over) })
				peak := watchSockets(b, &all, over)
				took, err := typeFor(live, 12*time.Second)
				busy := processorTime(b, f.pid()) - used
				close(over)
				if err != nil {
					b.Errorf("the connection of another tunnel: %v", err)
				}
				_ = live.Close()
				lines := len(f.daemon.log()) - logged
				rss := peakMemory(b, f.pid())
				f.box.Relay.Faults().Cut(f.culprit())
				all.Wait()
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
				b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "max-ms")
				b.ReportMetric(rss, "RSS-MB")
				b.ReportMetric(float64(peak.Load()-int64(sockets))/1e6, "sockets-MB")
				b.ReportMetric(float64(lines)/1e3, "log-kB")
				b.ReportMetric(busy.Seconds()/12*100, "CPU-%")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// typeFor types a byte every 20 ms for a while and returns how long each took to come back, sorted. Bytes that
// were due while another was on its way count with the time since they were due.
func typeFor(c net.Conn, d time.Duration) (took []time.Duration, err error) {
	const every = 20 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end) && err == nil; <-tick.C {
		start := time.Now()
		err = exchangeByteWithin(c, 30*time.Second)
		for t := time.Since(start); t > 0; t -= every {
			took = append(took, t)
		}
	}
	slices.Sort(took)
	return took, err
}

// socketMemory is what the kernel has for TCP sockets of all processes, in bytes.
func socketMemory(t testing.TB) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "TCP:"); ok {
			f := strings.Fields(rest)
			_, _ = fmt.Sscan(f[len(f)-1], &n)
		}
	}
	return n * os.Getpagesize()
}

// watchSockets keeps the largest [socketMemory] until over is closed.
func watchSockets(t testing.TB, all *sync.WaitGroup, over <-chan struct{}) *atomic.Int64 {
	t.Helper()
	peak := new(atomic.Int64)
	all.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			peak.Store(max(peak.Load(), int64(socketMemory(t))))
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	return peak
}
