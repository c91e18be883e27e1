package check

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/internal/version"
)

// DefaultTimeout bounds a whole check. Steps have limits of their own, and most run side by side.
const DefaultTimeout = time.Minute

// Limits of the steps.
const (
	askLimit      = 5 * time.Second  // the daemon's answer
	diskLimit     = 5 * time.Second  // the state directory
	lookupLimit   = 5 * time.Second  // one name
	dialLimit     = 10 * time.Second // TCP, through a proxy or not
	endpointLimit = 25 * time.Second // a data endpoint: name, TCP, TLS and answer
	brokerLimit   = 50 * time.Second // the broker: the same and MQTT, up to three times
	defaultStay   = 3 * time.Second  // see notify.ProbeOptions
)

// Options say what to check. Config is required. The fields after Timeout replace the system in
// tests; their zero values mean the real one.
type Options struct {
	Config  *config.Config
	Offline bool          // only what needs no network, daemon or services
	Files   bool          // with Offline: only files, not systemd
	Timeout time.Duration // 0 means DefaultTimeout

	Now  func() time.Time // certificates of servers are otherwise verified by the daemon's clock, which has a floor
	Root string           // directory with /etc, /proc, /run and /usr
	Stay time.Duration    // how long the subscription must last
	EUID func() int

	tryWrite  func(dir string) error
	readStamp func(path string) ([]byte, error)
	verify    func() time.Time // Now as it was given, or else what readClock sets
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	o.verify = o.Now
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Stay <= 0 {
		o.Stay = defaultStay
	}
	if o.EUID == nil {
		o.EUID = os.Geteuid
	}
	if o.tryWrite == nil {
		o.tryWrite = tryWrite
	}
	if o.readStamp == nil {
		o.readStamp = agent.ReadStamp
	}
	return o
}

// checkup is one run.
type checkup struct {
	Options
	cfg    *config.Config
	dialer *netdial.Dialer
	daemon daemon
	user   *account     // that the daemon runs as; nil if unknown
	stamp  func() error // the trouble with the stamp of the time

	mu            sync.Mutex
	clockReadings []clockReading
}

// Run checks everything and calls report with each result, in a fixed order, as soon as those before
// it are known. It returns within Timeout or soon after ctx ends; unfinished checks have then failed.
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

// sections yields the results of all parts in order. They run side by side, with two exceptions: the
// daemon is found first, and the clock is judged last, by what the servers said.
func (c *checkup) sections(ctx context.Context) func(yield func([]*Result) bool) {
	return func(yield func([]*Result) bool) {
		c.findDaemon(ctx)
		if !yield(c.configuration()) || !yield(c.files()) || !yield(c.stateDirectory(ctx)) {
			return
		}
		switch {
		case c.Files:
			return
		case c.Offline:
			yield([]*Result{c.systemd()})
			return
		}
		ctx := c.readClock(ctx)
		parts := []func(context.Context) []*Result{c.services, c.proxies, c.broker, c.tunnels}
		results := make([]chan []*Result, len(parts))
		for i, part := range parts {
			results[i] = make(chan []*Result, 1)
			go func() { results[i] <- timed(ctx, part) }()
		}
		more := yield([]*Result{c.control(), c.systemd()})
		for _, ch := range results { // even if no more are wanted: the parts write to c
			if list := <-ch; more {
				more = yield(list)
			}
		}
		if more {
			yield([]*Result{c.clock()})
		}
	}
}

// readClock has certificates judged as the daemon would, unless Now is given. It comes after stateDirectory: that says
// if the disk hangs.
func (c *checkup) readClock(ctx context.Context) context.Context {
	clock := agent.ReadClock(c.cfg, c.readStamp)
	c.stamp = clock.Trouble
	if c.verify == nil {
		c.verify = clock.Now
	}
	c.dialer.Time = c.verify
	return tlsdial.WithExplain(ctx, clock.Explain)
}

// timed runs a part and sets its duration on results that have none.
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
