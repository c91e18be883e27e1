package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/operator/transfer"
)

// cpSession is an SFTP session with an ssh process of its own, and a shell over the same connection.
type cpSession struct {
	*transfer.Session

	dir       *socketDir // holds the socket through which the shell shares the connection; nil if there is none
	processes []*exec.Cmd
	stop      context.CancelFunc
	hashing   sync.WaitGroup
}

// sftpOptions keep settings that the user has for shells away from the SFTP session, as scp does.
var sftpOptions = []string{"-x", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oRemoteCommand=none", "-oRequestTTY=no", "-oForwardAgent=no"}

// connect opens the way to a thing and runs ssh twice: for SFTP, and for a shell that hashes.
func (r *cpRun) connect(ctx context.Context, cmd *cobra.Command, thing transfer.Location, again bool) (_ *cpSession, err error) {
	words, err := connectWords(cmd.Flags())
	if err != nil {
		return nil, err
	}
	c := openssh.Command{Options: slices.Clone(sftpOptions), Destination: thing.Destination()}
	for _, i := range r.identities {
		c.Options = append(c.Options, "-i", i)
	}
	if r.sshConfig != "" {
		c.Options = append(c.Options, "-F", r.sshConfig)
	}
	for _, o := range r.sshSettings {
		c.Options = append(c.Options, "-o", o)
	}
	s := &cpSession{}
	ctx, s.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	args, err := r.arguments(cmd, words, r.path, c, s.multiplex)
	if err != nil {
		return nil, err
	}
	if !again {
		r.show.setStep("logging in to " + thing.Destination())
	}
	// Of several attempts, only the last one's messages matter.
	stderr := &aside{show: r.show, hold: again, done: ctx.Done()}
	r.lastWords = stderr
	out, in, ssh, err := s.start(ctx, r.path, append(slices.Clone(args), "-s", "sftp"), stderr)
	if err != nil {
		return nil, err
	}
	s.Session, err = transfer.NewSession(out, in)
	r.show.settle()
	if err != nil {
		return nil, r.explain(ctx, thing, ssh, in, err)
	}
	if r.check == "size" || r.check == "read" {
		s.NoShell()
		return s, nil
	}
	hash := func() error {
		out, in, ssh, err := s.startShell(ctx, r.path, args)
		if err != nil {
			s.NoShell()
			return err
		}
		limit := time.AfterFunc(shellTime, func() { _ = ssh.Process.Kill() })
		defer limit.Stop()
		return s.UseShell(out, in)
	}
	if r.check == "sha256" {
		if err := hash(); err != nil {
			return nil, &exitError{exitFailed, hint.New(fmt.Sprintf("%s cannot hash: %v", thing.Host, err), "--check read reads copies back, --check size compares sizes")}
		}
		return s, nil
	}
	s.hashing.Go(func() { // a shell takes a while over a slow link, and the copy needs it last
		if err := hash(); err != nil && ctx.Err() == nil && !again {
			r.show.note("%s cannot hash (%v): only sizes are compared, and interrupted files start anew; --check read reads copies back", thing.Host, err)
		}
	})
	return s, nil
}

// shellTime is how long the device may take to start a shell and to find a program that hashes.
const shellTime = time.Minute

// startShell runs a shell over the connection of the SFTP session.
func (s *cpSession) startShell(ctx context.Context, path string, args []string) (io.Reader, io.WriteCloser, *exec.Cmd, error) {
	// A connection of its own would ask for passwords once more and need a second one through the tunnel.
	shell := []string{"-o", "ControlMaster=no"}
	if s.dir != nil {
		shell = append(shell, "-o", "ControlPath="+filepath.Join(s.dir.path, "m"), "-o", "BatchMode=yes")
	}
	return s.start(ctx, path, append(append(shell, args...), "sh"), io.Discard)
}

// multiplex returns settings for ssh that let the shell use the SFTP session's connection, unless the user's own
// settings share connections already.
func (s *cpSession) multiplex(found map[string]string) []string {
	if runtime.GOOS == "windows" || !slices.Contains([]string{"", "no", "false"}, found["controlmaster"]) || found["controlpath"] != "" && found["controlpath"] != "none" {
		return nil
	}
	dir, err := newSocketDir("culvert-cp-")
	if err != nil || len(dir.path) > 60 { // ssh appends a name of its own
		dir.remove()
		return nil
	}
	s.dir = dir
	return []string{"ControlMaster=yes", "ControlPath=" + filepath.Join(dir.path, "m"), "ControlPersist=no"}
}

// start runs ssh with pipes.
func (s *cpSession) start(ctx context.Context, path string, args []string, stderr io.Writer) (io.Reader, io.WriteCloser, *exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, nil, fmt.Errorf("run %s: %w", path, err)
	}
	s.processes = append(s.processes, cmd)
	return out, in, cmd, nil
}

// explain says why no SFTP session began. If ssh could not connect, ssh has already printed why.
func (r *cpRun) explain(ctx context.Context, thing transfer.Location, ssh *exec.Cmd, in io.Closer, err error) error {
	_ = in.Close()
	_ = ssh.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if code := ssh.ProcessState.ExitCode(); code == exitNoConnection {
		return hint.New("ssh could not connect to "+thing.Destination(), "does this work: culvert ssh "+thing.Destination())
	}
	return hint.Wrap(fmt.Errorf("the SFTP server of %s gives no valid answer: %w", thing.Host, err),
		"sshd_config on the device needs a line such as: Subsystem sftp internal-sftp\nthe user's start files there must print nothing where there is no terminal")
}

// close ends the session and its processes. By then the other end has acknowledged everything, or the rest is lost.
func (s *cpSession) close() {
	if s.Session != nil {
		s.Session.Close()
	}
	if s.Session == nil || s.dir != nil {
		s.stop() // no other goroutine uses its connection
	}
	timer := time.AfterFunc(time.Second, s.stop)
	s.hashing.Wait()
	for _, p := range slices.Backward(s.processes) {
		_ = p.Wait() // the cause is known already
	}
	timer.Stop()
	s.stop()
	s.dir.remove()
}

// aside writes ssh's messages line by line, without disturbing the live line.
type aside struct {
	show *progress
	done <-chan struct{} // what ssh prints after this is about its own end, and is dropped

	mu   sync.Mutex
	hold bool // until release
	rest []byte
}

func (a *aside) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.done:
		return len(p), nil
	default:
	}
	a.rest = append(a.rest, p...)
	a.pass()
	return len(p), nil
}

// release writes the lines that were held back.
func (a *aside) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hold = false
	a.pass()
}

func (a *aside) pass() {
	if end := bytes.LastIndexByte(a.rest, '\n') + 1; end > 0 && !a.hold {
		text := a.rest[:end]
		a.show.aside(func() { _, _ = a.show.w.Write(text) })
		a.rest = bytes.Clone(a.rest[end:])
	}
}
