//go:build unix

package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// through is a connection through a source and a destination, which speak records or do not.
func through(tb testing.TB, records bool) (client, target net.Conn) {
	tb.Helper()
	registry := func() *resume.Registry {
		if !records {
			return nil
		}
		return resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
	}
	near, far := registry(), registry()
	a, b := newPair()
	dialled, target := socketPair(tb, "tcp", "127.0.0.1:0")
	d := NewDestination(DestinationConfig{
		Config:         Config{Transport: a, Resume: far},
		Dial:           func(context.Context, string) (net.Conn, error) { return dialled, nil },
		DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
	})
	s := NewSource(SourceConfig{Config: Config{Transport: b, Resume: near}, Form: V3})
	served := make(chan struct{}, 2)
	go func() { _ = d.Serve(); served <- struct{}{} }()
	go func() { _ = s.Serve(); served <- struct{}{} }()
	client, local := socketPair(tb, "tcp", "127.0.0.1:0")
	if err := s.Open("SSH", local); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = a.Close(closeNormal, "")
		<-served
		<-served
		for _, y := range []*resume.Registry{near, far} {
			if y != nil {
				stop(y)
			}
		}
		_, _ = client.Close(), target.Close()
	})
	return client, target
}

func move(tb testing.TB, from, to net.Conn, n int, buf []byte) {
	tb.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{to}, int64(n))
		done <- err
	}()
	for n > 0 {
		k, err := from.Write(buf[:min(n, len(buf))])
		if err != nil {
			tb.Fatal(err)
		}
		n -= k
	}
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	client, target := through(t, true)
	buf := make([]byte, 64<<10)
	const size = 64 << 20
	for name, ends := range map[string][2]net.Conn{"up": {client, target}, "down": {target, client}} {
		move(t, ends[0], ends[1], 16<<20, buf)
		before := mallocs()
		move(t, ends[0], ends[1], size, buf)
		frames := float64(size) / (16 << 10)
		per := float64(mallocs()-before) / frames
		t.Logf("%s: %.4f allocations a frame of 16 KiB", name, per)
		if per > 0.05 {
			t.Errorf("%s: %.4f allocations a frame", name, per)
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkForms(b *testing.B) {
	for name, records := range map[string]bool{"plain": false, "records": true} {
		for _, up := range []bool{true, false} {
			direction := map[bool]string{true: "up", false: "down"}[up]
			b.Run(name+"/"+direction, func(b *testing.B) {
				client, target := through(b, records)
				from, to := client, target
				if !up {
					from, to = target, client
				}
				buf := make([]byte, 64<<10)
				move(b, from, to, 16<<20, buf)
				b.SetBytes(1 << 20)
				b.ReportAllocs()
				before := cpu()
				b.ResetTimer()
				move(b, from, to, b.N<<20, buf)
				b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/MiB")
			})
		}
	}
}
