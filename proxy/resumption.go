package proxy

import (
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// DefaultResumeTimeout is how long a connection waits for the next websocket.
const DefaultResumeTimeout = resume.DefaultWindow

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
