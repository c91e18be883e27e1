package hook

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
)

// queueSize bounds the events that wait. An event is some hundred bytes.
const queueSize = 256

// Event is what a command gets in its environment.
type Event struct {
	Name  string
	Facts []string // "KEY=value", for the environment. Never a secret.
}

// Status counts what became of events.
type Status struct {
	Command     string    `json:"command"` // the program alone: arguments may say more than others should know
	Queued      int       `json:"queued"`
	Run         uint64    `json:"run"`
	Failed      uint64    `json:"failed"`  // of those that ran: another exit code than 0, or killed
	Dropped     uint64    `json:"dropped"` // because the queue was full
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Runner runs the commands. Its methods are safe for concurrent use.
type Runner struct {
	log     *slog.Logger
	wake    chan struct{}
	stopped chan struct{}                                                // closed by Stop
	run     func(ctx context.Context, cfg settings.Hooks, e Event) error // runCommand, or a test's own

	mu     sync.Mutex
	cfg    settings.Hooks
	queue  []Event
	status Status
	told   bool   // of dropped events, since the queue was last empty
	said   string // the failure that was logged last
	closed bool   // no more events are taken
}

// New returns a runner that runs nothing before Run.
func New(cfg settings.Hooks, log *slog.Logger) *Runner {
	r := &Runner{log: log, wake: make(chan struct{}, 1), stopped: make(chan struct{}), run: runCommand}
	r.Set(cfg)
	return r
}

// Set replaces the configuration for the events to come. What waits is run by the new one.
func (r *Runner) Set(cfg settings.Hooks) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg = cfg
	r.said = ""
	if len(cfg.Command) == 0 {
		r.queue = nil
	}
}

// Wants reports whether there is a command for events of that name.
func (r *Runner) Wants(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wants(name)
}

func (r *Runner) wants(name string) bool {
	return len(r.cfg.Command) > 0 && (len(r.cfg.Events) == 0 || slices.Contains(r.cfg.Events, name))
}

// Tell queues an event, or drops it when too many wait. It returns at once.
func (r *Runner) Tell(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed, !r.wants(e.Name):
		return
	case len(r.queue) >= queueSize:
		r.status.Dropped++
		if !r.told {
			r.told = true
			r.log.Warn("events dropped: hooks.command does not keep up", "target", r.cfg.Command[0], "queued", queueSize)
		}
		return
	}
	r.queue = append(r.queue, e)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run runs commands until Stop was called and nothing waits, or until ctx ends: the one that runs then is
// killed, and what waits is dropped. Call it once.
func (r *Runner) Run(ctx context.Context) {
	defer r.end()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { orphans.watch(watching) })
	defer watch.Wait()
	defer stop()
	for ctx.Err() == nil {
		if cfg, e, ok := r.next(); ok {
			r.done(cfg, e, r.run(ctx, cfg, e))
			continue
		}
		select {
		case <-r.stopped:
			if r.empty() {
				return
			}
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

// Stop lets Run return when all queued events are done.
func (r *Runner) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.stopped)
	}
}

func (r *Runner) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) == 0
}

// next takes the first event of the queue. It counts as queued until it is done.
func (r *Runner) next() (settings.Hooks, Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Queued = 0
	if len(r.queue) == 0 {
		r.told = false
		return settings.Hooks{}, Event{}, false
	}
	e := r.queue[0]
	r.queue = slices.Delete(r.queue, 0, 1)
	r.status.Queued = 1
	return r.cfg, e, true
}

// done counts, and logs the first of a row of equal failures.
func (r *Runner) done(cfg settings.Hooks, e Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Run++
	if err == nil {
		r.said = ""
		return
	}
	r.status.Failed++
	text := hint.Line(err)
	r.status.LastError, r.status.LastErrorAt = text, time.Now()
	if r.said != text {
		r.said = text
		r.log.Warn("hook failed", "target", cfg.Command[0], "event", e.Name, "error", text)
	}
}

func (r *Runner) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.status.Dropped += uint64(len(r.queue))
	r.queue, r.status.Queued = nil, 0
}

// Status returns the counts of now, and false when there is no command.
func (r *Runner) Status() (Status, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cfg.Command) == 0 {
		return Status{}, false
	}
	s := r.status
	s.Command = r.cfg.Command[0]
	s.Queued += len(r.queue)
	return s, true
}
