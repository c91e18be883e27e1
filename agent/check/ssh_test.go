package check

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sshService makes the bed's one service an SSH server.
func sshService(t *testing.T, do func(net.Conn)) Report {
	b := newBed(t)
	b.edit("[services]\n", "[services]\nSSH = \""+listen(t, do)+"\"\n")
	return b.examine()
}

func ssh(t *testing.T, r Report) *Result {
	t.Helper()
	for _, c := range find(r, "service") {
		if c.Subject == "SSH" {
			return c
		}
	}
	t.Fatalf("no result:\n%s", text(r))
	return nil
}

func TestAnSSHServerIsLeftInOrder(t *testing.T) {
	type left struct {
		ident   string
		message byte
		reason  uint32
		text    string
		err     error
	}
	got := make(chan left, 1)
	c := ssh(t, sshService(t, func(c net.Conn) {
		defer c.Close()
		_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\x1b[2J\r\n")
		in := bufio.NewReader(c)
		var l left
		l.ident, _ = in.ReadString('\n')
		head := make([]byte, 5)
		if _, l.err = io.ReadFull(in, head); l.err == nil {
			packet := make([]byte, binary.BigEndian.Uint32(head)-1)
			_, l.err = io.ReadFull(in, packet)
			payload := packet[:len(packet)-int(head[4])]
			l.message, l.reason, l.text = payload[0], binary.BigEndian.Uint32(payload[1:]), string(payload[9:9+binary.BigEndian.Uint32(payload[5:])])
			if (len(packet)+5)%8 != 0 || head[4] < 4 {
				t.Errorf("a packet of %d bytes with padding of %d", len(packet)+5, head[4])
			}
		}
		got <- l
	}))
	if c.Status != OK || !strings.HasSuffix(c.Text, "accepts connections: SSH-2.0-OpenSSH_9.9 [2J") {
		t.Errorf("%+v", c)
	}
	select {
	case l := <-got:
		if l != (left{"SSH-2.0-culvertd_check\r\n", 1, 11, "culvertd check", nil}) {
			t.Errorf("the server got %+v", l)
		}
	case <-time.After(5 * time.Second):
		t.Error("the server got nothing")
	}
}

func TestAnSSHServerThatRefusesTheDevice(t *testing.T) {
	for said, want := range map[string]struct {
		status Status
		text   string
		remedy string
	}{
		"Not allowed at this time\r\n": {Failed, "refuses this device for now", "PerSourcePenaltyExemptList 127.0.0.1"},
		"Exceeded MaxStartups\r\n":     {Failed, "refuses this device for now", "PerSourcePenaltyExemptList"},
		"":                             {Warning, "closes them at once", "sshd"},
		"220 mail.example ESMTP\r\n":   {Warning, "is not an SSH server", "correct the target"},
	} {
		t.Run(said, func(t *testing.T) {
			t.Parallel()
			c := ssh(t, sshService(t, func(c net.Conn) { _, _ = io.WriteString(c, said); _ = c.Close() }))
			if c.Status != want.status || !has(c.Text, want.text) || !has(c.Remedy, want.remedy) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestOpenSSHSeesAnOrderlyEnd asks a real sshd.
func TestOpenSSHSeesAnOrderlyEnd(t *testing.T) {
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("sshd is not installed")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil && os.Getuid() == 0 {
		t.Skipf("sshd needs /run/sshd when root runs it: %v", err)
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Skipf("ssh-keygen: %v: %s", err, out)
	}
	log := make(chan string, 1)
	c := ssh(t, sshService(t, func(c net.Conn) {
		defer c.Close()
		cmd := exec.Command(sshd, "-i", "-e", "-f", "/dev/null", "-h", key)
		var said strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c, c, &said
		_ = cmd.Run()
		log <- said.String()
	}))
	if c.Status != OK || !has(c.Text, "accepts connections: SSH-2.0-OpenSSH_") {
		t.Errorf("%+v", c)
	}
	if said := <-log; !strings.Contains(said, "culvertd check") {
		t.Errorf("sshd says %q", said)
	}
}
