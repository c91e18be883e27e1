package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// survival is a device with an sshd and a web server, an operator, and transfers between them.
type survival struct {
	*operatorSite
	ssh      *sshServer
	device   *daemon
	original string // a file
	sum      []byte // its SHA-256
	size     int64
	lines    int    // that a shell prints, one each 100 ms
	config   string // of ssh
	moving   []*moving
}

// interruption is what a transfer must survive.
type interruption struct {
	name string
	long bool // more than CI has time for
	play func(t *testing.T, s *survival)
}

// The rates of every link, in bytes a second: before the fault, so that no transfer is over by then, and after it.
const slowRate, fastRate = 60_000, 16_000_000

// survivalPause is how long a fault lasts that has an end. CULVERT_PAUSE sets it, such as 2m.
func survivalPause(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("CULVERT_PAUSE")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func interruptions() []interruption {
	cut := func(target relay.Target) func(*testing.T, *survival) {
		return func(t *testing.T, s *survival) { met(t, s.box.Relay.Faults().Cut(target)) }
	}
	strand := func(target relay.Target) func(*testing.T, *survival) {
		return func(t *testing.T, s *survival) { met(t, s.box.Relay.Faults().Strand(target)) }
	}
	hole := func(target relay.Target) func(*testing.T, *survival) {
		return func(t *testing.T, s *survival) {
			s.box.Relay.Faults().Set(target, relay.Conditions{BlackHole: true})
			waits(survivalPause(t))
			s.box.Relay.Faults().Set(target, relay.Conditions{})
		}
	}
	return []interruption{
		{name: "the operator's link is cut", play: cut(sourceSide)},
		{name: "the device's link is cut", play: cut(destinationSide)},
		{name: "both links are cut", play: cut(relay.Target{})},
		{name: "the relay restarts", play: func(t *testing.T, s *survival) {
			s.box.Relay.Faults().Refuse(relay.Target{}, relay.Refusal{Count: 6})
			met(t, s.box.Relay.Faults().CloseWith(relay.Target{}, 1001, "going away"))
		}},
		{name: "the session is reset", play: func(t *testing.T, s *survival) {
			met(t, s.box.Relay.Faults().SendMessage(relay.Target{}, frame.Message{Type: frame.SessionReset}))
		}},
		{name: "rotation of SOURCE", play: rotateAll(tunnels.RotateSource)},
		{name: "rotation of DESTINATION", play: rotateAll(tunnels.RotateDestination)},
		{name: "rotation of ALL", play: rotateAll(tunnels.RotateAll)},
		{name: "the tunnel is closed", play: func(t *testing.T, s *survival) {
			for _, one := range s.open() {
				if err := s.box.Store.Close(one.ID, false); err != nil {
					t.Error(err)
				}
			}
		}},
		{name: "the operator's machine sleeps", play: func(t *testing.T, s *survival) {
			s.signal(t, syscall.SIGSTOP)
			waits(survivalPause(t))
			s.signal(t, syscall.SIGCONT)
		}},
		{name: "the operator's link is a black hole", play: hole(sourceSide)},
		{name: "the device's link is a black hole", play: hole(destinationSide)},
		{name: "the operator's link is half open", long: true, play: strand(sourceSide)},
		{name: "the device's link is half open", long: true, play: strand(destinationSide)},
	}
}

// met fails the test where a fault met no connection.
func met(t *testing.T, n int) {
	t.Helper()
	if n == 0 {
		t.Error("the fault met no connection")
	}
}

func rotateAll(mode string) func(*testing.T, *survival) {
	return func(t *testing.T, s *survival) {
		for _, one := range s.open() {
			var to *tunnels.DestinationConfig
			if mode != tunnels.RotateSource {
				to = &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH", "HTTP"}}
			}
			r, err := s.box.Store.Rotate(one.ID, mode, to)
			if err != nil {
				t.Error(err)
				continue
			}
			s.device.hide(r.DestinationToken)
		}
	}
}

// TestTransfersSurvive puts each transfer through each interruption: each must end with exit code 0 and all bytes
// right. CULVERT_ENDURANCE=1 moves 64 MiB each and adds what takes more time.
func TestTransfersSurvive(t *testing.T) {
	t.Parallel()
	ssh := startSSHServer(t)
	for _, i := range interruptions() {
		t.Run(i.name, func(t *testing.T) {
			if i.long && os.Getenv("CULVERT_ENDURANCE") == "" {
				t.Skip("CULVERT_ENDURANCE=1 runs it")
			}
			t.Parallel()
			s := startSurvival(t, ssh)
			for _, start := range transfers {
				s.moving = append(s.moving, start(t, s))
			}
			for _, m := range s.moving {
				eventually(t, time.Minute, m.name+" is under way", func() bool { return m.progress() > 0 })
			}
			for _, m := range s.moving {
				if m.progress() >= m.total {
					t.Errorf("%s was over before the fault", m.name)
				}
			}
			began := time.Now()
			i.play(t, s)
			took := time.Since(began)
			if err := os.WriteFile(s.faulted(), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s.box.Relay.Faults().Set(relay.Target{}, relay.Conditions{RateLimit: fastRate})
			for _, m := range s.moving {
				t.Run(m.name, func(t *testing.T) {
					m.finish(t)
					t.Logf("%s: longest pause %v, the fault took %v", m.name, m.longest().Round(10*time.Millisecond), took.Round(10*time.Millisecond))
				})
			}
		})
	}
}

func startSurvival(t *testing.T, ssh *sshServer) *survival {
	t.Helper()
	s := &survival{ssh: ssh, size: 8 << 20, lines: 40}
	if os.Getenv("CULVERT_ENDURANCE") != "" {
		s.size, s.lines = 64<<20, 100
	}
	dir := t.TempDir()
	s.original = filepath.Join(dir, "original")
	s.sum = writeRandom(t, s.original, s.size)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": s.ssh.address, "HTTP": fileServer(t, dir)}})
	box.Relay.Faults().Set(relay.Target{}, relay.Conditions{RateLimit: slowRate})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	s.device = startDaemon(t, files.ConfigFile)
	s.device.waitLog(t, "mqtt subscribed", 20*time.Second)
	s.operatorSite = newOperatorSite(t, box)
	s.config = s.sshConfig(t)
	return s
}

// faulted is a file that is there once the fault is over.
func (s *survival) faulted() string { return filepath.Join(filepath.Dir(s.original), "faulted") }

// signal signals all programs of the operator's side.
func (s *survival) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	for _, m := range s.moving {
		for _, cmd := range m.programs {
			if err := syscall.Kill(-cmd.Process.Pid, sig); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}
