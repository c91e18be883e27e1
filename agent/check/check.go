package check

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/version"
)

// DefaultTimeout bounds a whole check. Its steps have limits of their own, and most run side by side.
const DefaultTimeout = time.Minute

// Limits of single steps.
const (
	askLimit      = 5 * time.Second  // a daemon on the same machine
	lookupLimit   = 5 * time.Second  // a name
	dialLimit     = 10 * time.Second // TCP, through a proxy or not
	endpointLimit = 25 * time.Second // name, TCP, TLS and answer of a data endpoint
	brokerLimit   = 50 * time.Second // the same of the broker, and what MQTT needs, up to three times
	defaultStay   = 3 * time.Second  // see notify.ProbeOptions
)

// Options say what to check. Config is required. The fields behind Timeout stand in for the system in tests; their
// zero values are the real one.
type Options struct {
	Config  *config.Config
	Offline bool          // only what needs neither network nor daemon nor services
	Files   bool          // of these, only what is in files: systemd has not been told of the daemon yet
	Timeout time.Duration // 0 means DefaultTimeout

	Now  func() time.Time
	Root string        // directory that /etc, /proc, /run and /usr are looked for in
	Stay time.Duration // how long the subscription must stand
	EUID func() int
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Stay <= 0 {
		o.Stay = defaultStay
	}
	if o.EUID == nil {
		o.EUID = os.Geteuid
	}
	return o
}

// checkup is one run.
type checkup struct {
	Options
	cfg    *config.Config
	dialer *netdial.Dialer
	daemon daemon
	user   *account // who the daemon runs as; nil if that is not known

	mu            sync.Mutex
	clockReadings []clockReading
}

// Run checks and calls report with one result after the other, in a fixed order, as soon as those before it are known.
// It returns within Timeout, or a moment after ctx ended; what was not done by then has failed.
func Run(ctx context.Context, o Options, report func(*Result)) Report {
	o = o.withDefaults()
	began := o.Now()
	clock := time.Now() // o.Now may be any
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c := &checkup{Options: o, cfg: o.Config, dialer: netdial.FromEnvironment()}
	r := Report{Version: version.Get(), Config: o.Config.Path, Thing: o.Config.ThingName, Started: began, Offline: o.Offline, Checks: []*Result{}}
	for list := range c.sections(ctx) {
		for _, result := range list {
			r.add(result)
			report(result)
		}
	}
	r.Milliseconds = time.Since(clock).Milliseconds()
	return r
}

// sections gives the results of the parts in order. The parts run side by side but for two: who runs the daemon is
// asked first, and the clock is judged by what the servers said.
func (c *checkup) sections(ctx context.Context) func(yield func([]*Result) bool) {
	return func(yield func([]*Result) bool) {
		c.findDaemon(ctx)
		if !yield(c.configuration()) || !yield(c.files()) || !yield(c.stateDirectory()) {
			return
		}
		switch {
		case c.Files:
			return
		case c.Offline:
			yield([]*Result{c.systemd()})
			return
		}
		parts := []func(context.Context) []*Result{c.services, c.proxies, c.broker, c.tunnels}
		results := make([]chan []*Result, len(parts))
		for i, part := range parts {
			results[i] = make(chan []*Result, 1)
			go func() { results[i] <- timed(ctx, part) }()
		}
		more := yield([]*Result{c.control(), c.systemd()})
		for _, ch := range results { // also when nobody wants more: they write to c
			if list := <-ch; more {
				more = yield(list)
			}
		}
		if more {
			yield([]*Result{c.clock()})
		}
	}
}

// timed lets a part run and puts its time on those of its results that have none.
func timed(ctx context.Context, part func(context.Context) []*Result) []*Result {
	began := time.Now()
	list := part(ctx)
	for i := range list {
		if list[i].Milliseconds == 0 && list[i].Status != Skipped {
			list[i].Milliseconds = time.Since(began).Milliseconds()
		}
	}
	return list
}
