package stream

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/proxy/resume"
	"github.com/culvert-iot/culvert/test/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !testing.Short() { // an emulator has no time to spare
		harness.Parallel(24)
	}
	goleak.VerifyTestMain(m)
}

// registryIf returns a registry in which no connection waits, for a side that speaks records, or nil.
func registryIf(records bool) *resume.Registry {
	if !records {
		return nil
	}
	return resume.NewRegistry(0, resume.NewMemory(resume.DefaultMemory))
}

// pair is a Source and a Destination that run against each other, each under a judge.
type pair struct {
	source      *Source
	destination *Destination
	near, far   *end // the source's and the destination's end of the link
	up, down    *judge
	both        sync.WaitGroup
}

// tunnel starts a pair, which ends with the test. dial serves the targets.
func tunnel(tb testing.TB, form Form, dial func(service string) (net.Conn, error)) *pair {
	tb.Helper()
	p := &pair{}
	p.near, p.far = newPair()
	p.up, p.down = judged(tb, p.near, true), judged(tb, p.far, false)
	p.up.forget, p.down.forget = true, true
	p.destination = NewDestination(DestinationConfig{
		Config:         Config{Transport: p.down, Logger: slog.New(slog.DiscardHandler)},
		Dial:           func(_ context.Context, service string) (net.Conn, error) { return dial(service) },
		DefaultService: func([]string) (string, error) { return "default", nil },
	})
	p.source = NewSource(SourceConfig{Config: Config{Transport: p.up}, Form: form})
	p.both.Go(func() { _ = p.destination.Serve() })
	p.both.Go(func() { _ = p.source.Serve() })
	tb.Cleanup(func() {
		_ = p.near.Close(closeNormal, "")
		p.both.Wait()
		checkEmpty(tb, p.destination.mux)
		checkEmpty(tb, p.source.mux)
	})
	return p
}
