package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/sandbox/registry"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// behaviours are the answers to the open questions that can be changed while the sandbox runs. In JSON their members
// have the names of the Go fields.
type behaviours struct {
	Tunnels       tunnels.Behaviour
	API           api.Behaviour
	MQTT          broker.Behaviour
	Notifications Notifications
	DataPlane     dataplane.Behaviour
}

// action is one thing that the admin endpoint can do.
type action struct {
	Call string `json:"call"` // method and path
	Does string `json:"does"`
	Body string `json:"body,omitempty"` // an example
	run  func(body []byte) (any, error)
}

var errNoBroker = errors.New("messages go through another broker; the embedded one does not run")

// admin is the handler of the admin endpoint.
func (s *Sandbox) admin() http.Handler {
	mux := http.NewServeMux()
	actions := s.actions()
	for _, a := range actions {
		mux.HandleFunc(a.Call, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			var out any
			if err == nil {
				out, err = a.run(body)
			}
			switch {
			case errors.Is(err, errNoBroker):
				reply(w, http.StatusConflict, problem(err))
			case err != nil:
				reply(w, http.StatusBadRequest, problem(err))
			default:
				reply(w, http.StatusOK, out)
			}
		})
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"about": "The sandbox's admin endpoint.", "actions": actions})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, problem(fmt.Errorf("there is no %s %s; GET / lists what there is, curl -d '' makes a POST", r.Method, r.URL.Path)))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A web page in a browser must not be able to call this, not even by a name of its own for 127.0.0.1.
		if r.Header.Get("Origin") != "" || !isLoopback(r.Host) {
			reply(w, http.StatusForbidden, problem(errors.New("not for browsers: call 127.0.0.1 from this machine")))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

func problem(err error) map[string]string { return map[string]string{"error": err.Error()} }

// on makes an action of a function that takes its arguments as JSON; an empty body means the zero value.
func on[T any](call, does, example string, run func(T) (any, error)) action {
	return action{Call: call, Does: does, Body: example, run: func(body []byte) (any, error) {
		var in T
		if err := decode(body, &in); err != nil {
			return nil, err
		}
		return run(in)
	}}
}

func decode(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	return nil
}

type nothing struct{}

type done struct {
	Done bool `json:"done"`
}

func (s *Sandbox) actions() []action {
	mqtt := func(call, does string, run func() error) action {
		return on(call, does, "", func(nothing) (any, error) {
			if s.Broker == nil {
				return nil, errNoBroker
			}
			err := run()
			return done{err == nil}, err
		})
	}
	return []action{
		on("GET /state", "addresses, tunnels, MQTT clients, notifications, violations, what is pending", "",
			func(nothing) (any, error) { return s.state(), nil }),
		on("GET /behaviour", "the answers to the open questions that are played now", "",
			func(nothing) (any, error) { return s.currentBehaviour(), nil }),
		{
			"POST /behaviour", "change answers; members that are left out stay",
			`{"Tunnels":{"RotationKeepsConnection":true},"Notifications":{"Delay":"2s","Repeat":true}}`, s.changeBehaviour,
		},
		on("POST /things", "make a certificate and a configuration for one more thing", `{"thing":"pi-2"}`,
			func(in struct{ Thing string }) (any, error) { return s.Device(in.Thing) }),
		on("POST /faults/relay", "make something go wrong at the data endpoint: a command of the relay, for all connections or some",
			`{"do":"cut","side":"destination"}`, func(c relay.Command) (any, error) {
				n, err := s.Relay.Faults().Do(c)
				return map[string]int{"connections": n}, err
			}),
		on("POST /faults/api", "answer the next count calls with an error, or late; an empty body throttles one",
			`{"operation":"OpenTunnel","count":3,"type":"ThrottlingException","delay":"1s"}`, s.failAPI),
		on("POST /caller", "change who calls, and what IAM's policy simulator says of them; an empty body is who may do everything",
			`{"Denied":["iot:OpenTunnel"],"DeniedBy":"organization"}`, func(c registry.Caller) (any, error) {
				s.Registry.SetCaller(c)
				return done{true}, nil
			}),
		on("POST /faults/notifications", "lose the next notifications", `{"lose":1}`,
			func(in struct{ Lose int }) (any, error) {
				how := s.notifier.current()
				how.Lose = max(in.Lose, 1)
				s.notifier.set(how)
				return done{true}, nil
			}),
		on("POST /faults/clear", "end all faults: of the data endpoint, the API, notifications, MQTT", "",
			func(nothing) (any, error) { return done{true}, s.clearFaults() }),
		on("POST /mqtt/kick", "drop a client's connection; its session is kept", `{"client_id":"pi-1-tunnel"}`,
			func(in struct {
				ClientID string `json:"client_id"`
			},
			) (any, error) {
				if s.Broker == nil {
					return nil, errNoBroker
				}
				return done{s.Broker.Kick(in.ClientID)}, nil
			}),
		mqtt("POST /mqtt/stop", "begin an outage: nothing listens, connections drop, sessions are kept", func() error { s.Broker.Stop(); return nil }),
		mqtt("POST /mqtt/start", "end the outage, on the same ports", func() error { return s.Broker.Restart() }),
		mqtt("POST /mqtt/freeze", "let connections stand and no byte pass", func() error { s.Broker.Freeze(true); return nil }),
		mqtt("POST /mqtt/thaw", "let bytes pass again, those that were held back first", func() error { s.Broker.Freeze(false); return nil }),
		{
			"POST /mqtt/policy", "judge devices by another AWS IoT policy document from now on; an empty body restores the first one",
			broker.DefaultPolicy("eu-west-1", "123456789012"), s.changePolicy,
		},
		on("POST /mqtt/publish", "publish any payload, by default as a notification of the thing", `{"thing":"pi-1","payload":"no JSON","qos":1}`, s.publishAny),
	}
}

func (s *Sandbox) failAPI(in struct {
	api.Fault

	Delay string `json:"delay"`
},
) (any, error) {
	if in.Delay != "" {
		d, err := time.ParseDuration(in.Delay)
		if err != nil {
			return nil, fmt.Errorf("delay: %w", err)
		}
		in.Fault.Delay = d
	}
	if registry.Has(in.Operation) {
		return done{true}, s.failRegistry(in.Fault)
	}
	err := s.API.Fail(in.Fault)
	return done{err == nil}, err
}

// failRegistry answers calls of AWS IoT's own API with an error.
func (s *Sandbox) failRegistry(f api.Fault) error {
	if f.Delay > 0 {
		return errors.New("only the tunnels' API can be late")
	}
	fault := registry.Fault{Status: cmp.Or(f.Status, http.StatusBadRequest), Type: cmp.Or(f.Type, "ThrottlingException"), Message: cmp.Or(f.Message, "The sandbox was told to answer so.")}
	for range max(f.Count, 1) {
		s.Registry.Fail(f.Operation, fault)
	}
	return nil
}

func (s *Sandbox) publishAny(in struct {
	Thing, Topic, Payload string
	QoS                   byte
},
) (any, error) {
	if in.Topic == "" {
		if in.Thing == "" {
			return nil, errors.New("thing or topic is needed")
		}
		in.Topic = "$aws/things/" + in.Thing + "/tunnels/notify"
	}
	return s.publish(in.Topic, []byte(in.Payload), in.QoS)
}

func (s *Sandbox) changePolicy(body []byte) (any, error) {
	if s.Broker == nil {
		return nil, errNoBroker
	}
	p, document := s.policy, s.cfg.Policy
	if len(bytes.TrimSpace(body)) > 0 {
		var err error
		if p, err = broker.ParsePolicy(body); err != nil {
			return nil, err
		}
		document = body
	}
	s.Broker.SetPolicy(p)
	s.document.Store(&document)
	return done{true}, nil
}

func (s *Sandbox) currentBehaviour() behaviours {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behaviour
	b.Notifications = s.notifier.current()
	return b
}

func (s *Sandbox) changeBehaviour(body []byte) (any, error) {
	b := s.currentBehaviour()
	if err := decode(body, &b); err != nil {
		return nil, err
	}
	if err := b.DataPlane.Validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.behaviour = b
	s.mu.Unlock()
	s.Store.SetBehaviour(b.Tunnels)
	s.API.SetBehaviour(b.API)
	s.DataPlane.SetBehaviour(b.DataPlane)
	s.notifier.set(b.Notifications)
	if s.Broker != nil {
		s.Broker.SetBehaviour(b.MQTT)
	}
	return b, nil
}

// clearFaults ends what was made to go wrong. Behaviours and the policy stay: they are no faults.
func (s *Sandbox) clearFaults() error {
	s.Relay.Faults().Clear()
	s.API.ClearFaults()
	s.Registry.ClearFaults()
	how := s.notifier.current()
	how.Lose = 0
	s.notifier.set(how)
	if s.Broker == nil {
		return nil
	}
	s.Broker.Freeze(false)
	return s.Broker.Restart()
}
