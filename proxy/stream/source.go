package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// SourceConfig is what an operator's side needs.
type SourceConfig struct {
	Config
	// Form is the form of the messages: V3, or V2 and V1 for older destinations.
	Form Form
	// Announced says that the service sends SERVICE_IDS (V2 and V3 subprotocols): Ready waits for it.
	Announced bool
}

// Source starts streams and connections towards a destination, over one websocket.
type Source struct {
	*mux
	form   Form
	ready  chan struct{}
	lastID int32
	kept   int // connections that waited when this websocket was ready

	probing *time.Timer
}

// NewSource returns a Source that is ready to Serve.
func NewSource(cfg SourceConfig) *Source {
	s := &Source{mux: newMux(cfg.Config), form: cfg.Form, ready: make(chan struct{})}
	s.source = true
	// Ids must not repeat after a restart of this process, or a destination could take late data of
	// the old stream for the new one's.
	s.lastID = rand.Int32N(1<<30) + 1 //nolint:gosec // uniqueness, not secrecy
	if !cfg.Announced {
		close(s.ready)
	}
	return s
}

// Serve carries streams until the websocket ends and returns why. Every connection has ended then. Call
// it once.
func (s *Source) Serve() error {
	s.mu.Lock()
	select {
	case <-s.ready:
		s.resumeAll()
	default:
	}
	if s.resume != nil {
		s.probing = time.AfterFunc(probeEvery, s.probeStreams)
		defer s.probing.Stop()
	}
	s.mu.Unlock()
	return s.serve(s.handle)
}

// Ready is closed once the tunnel's services are known.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Services are the tunnel's services, after Ready. A tunnel may have none.
func (s *Source) Services() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.services)
}

// Kept is how many connections of an earlier websocket continue over this one, after Ready. The number does not fall
// when the destination attaches them.
func (s *Source) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// ErrBusy is returned if the destination's form allows one connection a service, and there is one.
var ErrBusy = errors.New("the destination speaks V1 or V2, which carry one connection a service at a time, and one is open")

// ErrFull is returned if the tunnel has all the connections that it may have, those that are ending included.
var ErrFull = errors.New("the tunnel has as many connections as it may have")

func (s *Source) handle(msg *frame.Message) error {
	if done, err := s.common(msg); done {
		if msg.Type == frame.ServiceIDs {
			select {
			case <-s.ready:
			default:
				s.resumeAll()
				close(s.ready)
			}
		}
		return err
	}
	// Only sources start streams; the service should have closed the websocket of a peer that does.
	s.warn("start", "start of a stream by the destination ignored", "service", msg.ServiceID, "stream", msg.StreamID)
	return nil
}

// Open carries local over the tunnel to service, until either side ends it. The Source closes local then.
// On an error local is left to the caller. Without a service the tunnel has no service ids (or speaks V1).
func (s *Source) Open(service string, local net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.takesFrames() {
		return ErrEnded
	}
	if len(service) > maxServiceID {
		return fmt.Errorf("a service id has at most %d characters, this one %d", maxServiceID, len(service))
	}
	if len(s.conns) >= maxConnections {
		return fmt.Errorf("%w: %d", ErrFull, maxConnections)
	}
	form := s.form
	key := service
	if !form.Service {
		key = ""
	}
	form.Service = key != ""
	st := s.streams[key]
	switch {
	case st != nil && !st.form.Connection:
		return fmt.Errorf("open a connection to service %q: %w", service, ErrBusy)
	case st != nil:
		st.advance()
		s.tell(st.message(frame.ConnectionStart, st.next))
	default:
		if s.lastID++; s.lastID <= 0 {
			s.lastID = 1
		}
		st = &stream{id: s.lastID, service: key, form: form, name: service, conns: make(map[uint32]*connection), next: 1}
		if s.mayCarry(form) {
			peer, known := s.resume.Peer()
			st.records = known || s.resumes(key)
			st.keeps = peer.Keeps || !known
			st.id = offeringID(st.records)
		}
		s.streams[key] = st
		s.tell(st.message(frame.StreamStart, 1))
	}
	c := s.begin(st, st.next, local)
	switch {
	case !s.mayCarry(form):
	case st.records:
		c.res = resume.New(s.resume.Memory)
		var at resume.Address
		if peer, _ := s.resume.Peer(); s.farEnd.present {
			at = peer.At
		}
		c.res.Open(resume.NewID(), at)
		c.tellNext()
		c.carry()
		c.watchConfirmation()
	default:
		c.offer()
	}
	return nil
}

// mayCarry reports whether connections of a form may be carried in records.
func (s *Source) mayCarry(form Form) bool { return s.resume != nil && form.Connection }

// resumes reports whether a connection of a service waits to be resumed: then its destination speaks records.
func (s *Source) resumes(service string) bool {
	for _, w := range s.resume.Waiting() {
		if c, ok := w.(*connection); ok && c.detached && c.s.service == service {
			return true
		}
	}
	return false
}
