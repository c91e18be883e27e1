package e2e

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/sandbox"
)

// A program that is killed, as by the kernel for want of memory, cannot say why its connections end. Its applications
// must not take that for the end of what they receive.
func TestAKilledProgramsConnectionsDoNotLookComplete(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shares bool // the operator's commands share a holder's tunnel
		device bool // it is culvertd that is killed
	}{
		"culvert connect":               {},
		"culvert connect with a holder": {shares: true},
		"culvertd":                      {device: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.shares && !holder.Supported {
				t.Skip("this system has no holders")
			}
			device, command, client, service := halfway(t, c.shares)

			killed, application := command, client
			if c.device {
				killed, application = device.Cmd, service
			}
			kill(t, killed)
			_ = application.SetReadDeadline(time.Now().Add(20 * time.Second))
			if n, err := application.Read(make([]byte, 16)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the application read %d bytes and %v, want a reset", n, err)
			}
		})
	}
}

// acceptOne listens and returns its first connection.
func acceptOne(t *testing.T) (address string, accepted <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conns := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			conns <- c
		}
	}()
	return l.Addr().String(), conns
}

func sendHalf(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "half"); err != nil {
		t.Fatal(err)
	}
}

func receiveHalf(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// halfway connects a client to a service through culvert connect and culvertd. Each has sent half of what it has to say, and
// the other has it. shares lets the operator's commands share a holder's tunnel.
func halfway(t *testing.T, shares bool) (device *daemon, command *exec.Cmd, client, service net.Conn) {
	t.Helper()
	target, accepted := acceptOne(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"APP": target}})
	device, _ = startSubscribed(t, box)
	o := newOperatorSite(t, box)
	if shares {
		o.share(t)
	}
	command, address, _ := o.startConnect(t, "pi-1", "APP")
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	sendHalf(t, client)
	service = <-accepted
	t.Cleanup(func() { _ = service.Close() })
	receiveHalf(t, service)
	sendHalf(t, service)
	receiveHalf(t, client)
	return device, command, client, service
}
