package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"culvertd": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			// Short enough for a socket, wherever the tests run.
			dir, err := os.MkdirTemp("", "cv")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(dir) })
			env.Setenv("RUN", dir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			if err := os.WriteFile(env.WorkDir+"/pair.pem", certificate(t), 0o600); err != nil {
				return err
			}
			if err := forInit(env, certificate(t), certificate(t)); err != nil {
				return err
			}
			return os.WriteFile(env.WorkDir+"/large.json", make([]byte, 17<<10), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"waitfor": waitFor,
			"systemd": standInForSystemd,
		},
	})
}

// certificate makes a self-signed certificate with its key.
func certificate(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
}

// forInit makes what init is given: files, and a bundle that the operator's command would have made.
func forInit(env *testscript.Env, pair, other []byte) error {
	example, err := filepath.Abs("../../configs/minimal.toml")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLE", example)
	split := bytes.Index(pair, []byte("-----BEGIN PRIVATE KEY"))
	cert, key := pair[:split], pair[split:]
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"culvertd.toml", []byte("thing_name = \"my-pi\"\n[mqtt]\nendpoint = \"broker.example.com\"\ncert_file = \"device.pem.crt\"\nkey_file = \"private.pem.key\"\n[services]\nSSH = 22\n")},
		{"device.pem.crt", cert},
		{"private.pem.key", key},
		{"setup.json", []byte("{}")},
		{"../escaped", []byte("no")},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.data)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.Mkdir(env.WorkDir+"/home", 0o700); err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"home/my.pem": cert, "home/my.key": key, "home/other.key": other[bytes.Index(other, []byte("-----BEGIN PRIVATE KEY")):],
		"bundle.tar": archive.Bytes(), "cut.tar": archive.Bytes()[:1500],
	} {
		if err := os.WriteFile(env.WorkDir+"/"+name, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// exits runs a command that must end with a code: exits 2 culvertd bogus
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// waitFor waits until a file matches: waitfor FILE [REGEXP]
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	path := ts.MkAbs(args[0])
	for {
		if _, err := os.Lstat(path); err == nil {
			if len(args) == 1 {
				return
			}
			if b, _ := os.ReadFile(path); regexp.MustCompile(args[1]).Match(b) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b, err := os.ReadFile(path)
			ts.Fatalf("%s", fmt.Sprintf("waited in vain for %q: %s %v", args, b, err))
		}
	}
}

// standInForSystemd takes what a daemon tells systemd and writes it to a file beside the socket: systemd SOCKET
func standInForSystemd(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: args[0], Net: "unixgram"})
	ts.Check(err)
	log, err := os.Create(args[0] + ".log")
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			_, _ = log.Write(append(buf[:n], '\n'))
		}
	}()
	ts.Defer(func() {
		_ = conn.Close()
		<-done
		_ = log.Close()
	})
}
