package e2e

import (
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// plainArguments are the arguments for an ssh that connects to the server directly.
func (s *sshServer) plainArguments(remote ...string) []string {
	host, port, _ := strings.Cut(s.address, ":")
	args := append(s.sshFlags(), "-o", "HostKeyAlias=pi-1", "-o", "Compression=yes", "-p", port, s.user+"@"+host)
	return append(args, remote...)
}

// firstByte returns the time from a command's start to the first byte of its output.
func firstByte(t testing.TB, cmd *exec.Cmd) time.Duration {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return took
}

// BenchmarkSecondSSH compares culvert ssh over a held tunnel with the real ssh to the same sshd, in turn: from the
// start to the remote command's first byte.
func BenchmarkSecondSSH(b *testing.B) {
	o, ssh := startSharingSite(b)
	program := requireProgram(b, "ssh")
	shared := func() time.Duration { return firstByte(b, o.culvert(b, ssh.arguments([]string{"--quiet"}, "echo")...)) }
	plain := func() time.Duration { return firstByte(b, o.command(b, program, ssh.plainArguments("echo")...)) }
	shared() // opens the tunnel
	plain()
	var ours, theirs, more []float64
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for b.Loop() {
		p := plain()
		s := shared()
		ours, theirs, more = append(ours, milliseconds(s)), append(theirs, milliseconds(p)), append(more, milliseconds(s-p))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ours), "culvert-ms")
	b.ReportMetric(median(theirs), "ssh-ms")
	b.ReportMetric(median(more), "more-ms")
	if n := o.opened(); n != 1 {
		b.Errorf("%d tunnels were opened", n)
	}
}

// BenchmarkSSHAtOnce runs 50 commands at once to one thing, and as many of the real ssh, in turn. Each time the first of
// them starts the holder, which opens the tunnel.
func BenchmarkSSHAtOnce(b *testing.B) {
	const n = 50
	o, ssh := startSharingSite(b)
	program := requireProgram(b, "ssh")
	all := func(command func() *exec.Cmd) time.Duration {
		done := make(chan error, n)
		commands := make([]*exec.Cmd, n)
		for i := range commands {
			commands[i] = command()
		}
		began := time.Now()
		for _, cmd := range commands {
			go func() { done <- cmd.Run() }()
		}
		for range n {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		return time.Since(began)
	}
	shared := func() time.Duration {
		return all(func() *exec.Cmd { return o.culvert(b, ssh.arguments([]string{"--quiet"}, "true")...) })
	}
	plain := func() time.Duration {
		return all(func() *exec.Cmd { return o.command(b, program, ssh.plainArguments("true")...) })
	}
	var ours, theirs, ratios []float64
	for b.Loop() {
		before := o.opened()
		p, s := plain(), shared()
		if opened := o.opened() - before; opened != 1 {
			b.Errorf("%d tunnels were opened", opened)
		}
		ours, theirs, ratios = append(ours, s.Seconds()), append(theirs, p.Seconds()), append(ratios, s.Seconds()/p.Seconds())
		if _, errs, code := runSSH(o.culvert(b, "tunnels", "--close", "pi-1")); code != 0 {
			b.Fatal(errs)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ours), "culvert-s")
	b.ReportMetric(median(theirs), "ssh-s")
	b.ReportMetric(median(ratios), "culvert/ssh")
}

// BenchmarkHolderMemory measures a holder's memory after 10 sessions, while no command uses its tunnel.
func BenchmarkHolderMemory(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("memory is read from /proc")
	}
	for b.Loop() {
		o, ssh := startSharingSite(b)
		for range 10 {
			if _, errs, code := o.ssh(b, ssh, []string{"--quiet"}, "head -c 1000000 /dev/zero"); code != 0 {
				b.Fatal(errs)
			}
		}
		pid := o.onlyHolder(b).PID
		<-time.After(12 * time.Second) // a holder trims its memory after 10 s without a session
		b.ReportMetric(settled(b, pid, "Pss"), "Pss-MB")
		b.ReportMetric(float64(residentMemory(b, pid))/1e6, "RSS-MB")
	}
}
