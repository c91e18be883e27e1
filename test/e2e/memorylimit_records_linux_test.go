package e2e

import (
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

var socketFigures = regexp.MustCompile(`skmem:\(r(\d+),.*?,w(\d+),`)

// kernelMemoryOf returns the kernel's memory for a process's TCP sockets, in bytes; 0 if the kernel does not report it.
func kernelMemoryOf(pid int) (sum int) {
	out, err := exec.Command("ss", "-Htmp").Output()
	if err != nil {
		return 0
	}
	whose := false
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "users:(") {
			whose = strings.Contains(line, "pid="+strconv.Itoa(pid)+",")
		}
		if m := socketFigures.FindStringSubmatch(line); m != nil && whose {
			for _, text := range m[1:] {
				n, _ := strconv.Atoi(text)
				sum += n
			}
		}
	}
	return sum
}

// Peers that speak records use up all limits together: the most connections, each with all its credit in use for a
// target that reads nothing. The daemon stays within the unit's memory, and typing in another tunnel goes on.
func TestHoardersWithinTheUnitsMemory(t *testing.T) {
	t.Parallel()
	const limit = 128 << 20 // MemoryMax of configs/culvertd.service
	group := newMemoryGroup(t, limit)
	over := make(chan struct{})
	box := startSandbox(t, sandbox.Config{Services: map[string]string{
		"ECHO": echoServer(t), "DEAF": server(t, func(net.Conn) { <-over }),
	}})
	defer close(over)
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := group.start(t, files.ConfigFile)
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	source := startSource(t, box, openTunnel(t, box, d, "ECHO").SourceToken, proxy.V3)
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	live := startPulse(t, connectTo(t, source, "ECHO"))
	var sources []*proxy.Source
	for range 7 {
		opened := openTunnel(t, box, d, "ECHO", "DEAF")
		sources = append(sources, startSourceWith(t, box, opened.SourceToken, proxy.V3, proxy.NewResumption(time.Minute)))
	}
	for _, s := range sources {
		eventually(t, 20*time.Second, "every tunnel answers", func() bool { return answers(s, "ECHO", time.Second) })
		for range 150 {
			c, ok := connectTo(t, s, "DEAF").(*net.TCPConn)
			if !ok {
				t.Fatal("not TCP")
			}
			_ = c.SetWriteBuffer(64 << 10)
			go func() { _, _ = io.Copy(c, zeros{}) }()
		}
	}
	pid, most := d.Cmd.Process.Pid, 0
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); <-tick.C {
		most = max(most, processFigure(t, pid, "RssAnon")<<10+kernelMemoryOf(pid))
	}
	open := 0
	s := d.status(t)
	for _, tunnel := range s.Tunnels {
		for _, service := range tunnel.Services {
			open += service.Connections
		}
	}
	t.Logf("%d of %d connections; the process's own memory and the kernel's for its sockets: %.1f MB at most, the process alone %.1f MB",
		open, s.Limits.MaxConnections, float64(most)/1e6, float64(processFigure(t, pid, "VmHWM"))/1e3)
	if open < 100 {
		t.Errorf("only %d connections are open", open)
	}
	if most > limit {
		t.Errorf("%d bytes of %d", most, limit)
	}
	live.lived(t, "hoarders in seven other tunnels")
}
