package proxy

import (
	"log/slog"
	"net"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
	"github.com/culvert-iot/culvert/proxy/stream"
)

// DefaultResumeTimeout is how long a connection waits for the next websocket.
const DefaultResumeTimeout = resume.DefaultWindow

// MaxResumeTimeout is the longest that it may wait.
const MaxResumeTimeout = resume.MaxWindow

// Resumption keeps connections between two ends of this package whose websocket was lost, until the next one
// resumes them. Share one among the tunnels of a daemon, or the websockets of one operator's command.
type Resumption struct{ registry *resume.Registry }

// ResumptionStats counts connections of a Resumption.
type ResumptionStats = resume.Stats

// NewResumption returns a Resumption whose connections wait for at most timeout; 0 keeps none.
func NewResumption(timeout time.Duration) *Resumption {
	return &Resumption{resume.NewRegistry(timeout, resume.NewMemory(resume.DefaultMemory))}
}

// Stats returns a snapshot. nil has none.
func (r *Resumption) Stats() ResumptionStats {
	if r == nil {
		return ResumptionStats{}
	}
	return r.registry.Stats()
}

// Resumable is how many connections of a source would now continue over another websocket, those that wait for one
// included.
func (r *Resumption) Resumable() int {
	r.registry.Lock()
	defer r.registry.Unlock()
	return r.registry.Resumable()
}

// Close ends the connections that wait, by a reset, and waits until their observers know. None waits from now on.
func (r *Resumption) Close() {
	if r == nil {
		return
	}
	r.registry.Lock()
	r.registry.Close(resume.Stopped)
	r.registry.Unlock()
	r.registry.Ending.Wait()
}

// resumption returns r's registry, or one that keeps nothing.
func resumption(r *Resumption) *resume.Registry {
	if r == nil {
		r = NewResumption(0)
	}
	return r.registry
}

// Saved is a connection for another process to go on with; see [Resumption.HandOver].
type Saved = stream.Saved

// KeepForHandOver makes the websockets that end from now on leave their connections detached, for HandOver. They act on
// nothing that the peer still sends, and their orderly end takes 300 ms at most.
func (r *Resumption) KeepForHandOver() {
	r.registry.Lock()
	defer r.registry.Unlock()
	r.registry.HandOver = r.registry.Enabled()
}

// HandOver gives the connections that wait to keep, which copies each socket's descriptor, and returns how many it took.
// Call it when all websockets have ended, or have been told to after KeepForHandOver.
func (r *Resumption) HandOver(keep func(Saved, net.Conn) error) int {
	return stream.HandOver(r.registry, keep)
}

// Identity is a process as sources know it, which goes with the connections that are handed over.
type Identity = resume.Identity

// Identity gives up the identity of this process. Call it after HandOver, and give the result to one process only.
func (r *Resumption) Identity() Identity {
	r.registry.Lock()
	defer r.registry.Unlock()
	return r.registry.Identity()
}

// Assume takes over another process's Identity, and reports whether that is valid. Call it before the first websocket.
func (r *Resumption) Assume(v Identity) bool {
	r.registry.Lock()
	defer r.registry.Unlock()
	return r.registry.Assume(v)
}

// TakeOver goes on with a connection that another process handed over: it waits for a websocket. On an error the target
// is left to the caller.
func (r *Resumption) TakeOver(v Saved, target net.Conn, observer func(Opened) func(Closed), log *slog.Logger) error {
	return stream.TakeOver(r.registry, v, target, observer, log)
}
