package dataplane

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/rate"
)

// SigningName is the service name in the scope of a request's signature.
const SigningName = "iotdevicegateway"

// SocketInformation stands in [Behaviour].Denied for the permission to see addresses.
const SocketInformation = "SocketInformation"

// Operations are the names of the operations, for [Behaviour].Denied.
var Operations = []string{"GetConnection", "ListSubscriptions", "SendDirectMessage", "DeleteConnection", "GetRetainedMessage"}

// Config configures an API. Broker is required.
type Config struct {
	Broker        func() *broker.Broker // nil: there is no embedded broker, and calls fail
	Region        string
	AllowUnsigned bool
	Behaviour     Behaviour
	Logger        *slog.Logger // nil: silent
}

// Behaviour is how the API refuses, and answers to what AWS's documents leave open. The zero value
// allows everything.
type Behaviour struct {
	// Denied are operations that the caller's IAM policy does not allow, by name; SocketInformation
	// denies GetConnection with addresses only.
	Denied []string
	// DeniedBy is the kind of policy that the refusal names, such as "VPC endpoint policy"; "": it names none.
	DeniedBy string
	// Throttled refuses every call with ThrottlingException.
	Throttled bool
	// CallsPerSecond, if not 0, bounds the calls a second, of all operations together; the others get
	// ThrottlingException.
	CallsPerSecond int
	// UnknownIsDisconnected answers GetConnection for a client id that never connected with
	// connected: false instead of ResourceNotFoundException.
	UnknownIsDisconnected bool
}

// Validate fails when Denied names something that does not exist.
func (b Behaviour) Validate() error {
	for _, d := range b.Denied {
		if d != SocketInformation && !slices.Contains(Operations, d) {
			return fmt.Errorf("%q is not an operation: they are %s, and %s for the addresses", d, strings.Join(Operations, ", "), SocketInformation)
		}
	}
	return nil
}

// API answers the data plane's calls. It is an http.Handler; its methods are safe for concurrent use.
type API struct {
	cfg Config
	mux *http.ServeMux

	calls rate.Limiter

	mu        sync.Mutex
	behaviour Behaviour
}

// New returns an API.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, mux: http.NewServeMux(), behaviour: cfg.Behaviour}
	a.handle("GET /connections/{clientId}", "GetConnection", a.getConnection)
	a.handle("GET /connections/{clientId}/subscriptions", "ListSubscriptions", a.listSubscriptions)
	a.handle("POST /connections/{clientId}/messages", "SendDirectMessage", a.sendDirectMessage)
	a.handle("DELETE /connections/{clientId}", "DeleteConnection", a.deleteConnection)
	a.handle("GET /retainedMessage/{topic}", "GetRetainedMessage", a.getRetainedMessage)
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, "unknown", nil, &apiError{http.StatusNotFound, "ResourceNotFoundException", "The sandbox knows no " + r.Method + " of this path."})
	})
	return a
}

// Mine reports whether a request is for this API and not for another one of the sandbox.
func Mine(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/connections/") || strings.HasPrefix(r.URL.Path, "/retainedMessage/")
}

// SetBehaviour changes the behaviour from now on.
func (a *API) SetBehaviour(b Behaviour) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behaviour = b
}

// ServeHTTP answers one call.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// call is one call as an operation sees it.
type call struct {
	*http.Request

	broker    *broker.Broker
	clientID  string
	behaviour Behaviour
}

func (a *API) handle(pattern, operation string, run func(call) (any, error)) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		c := call{Request: r, clientID: r.PathValue("clientId"), behaviour: a.behaviour}
		a.mu.Unlock()
		err := a.authorize(c, operation)
		var out any
		if err == nil {
			if c.broker = a.cfg.Broker(); c.broker == nil {
				err = &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", "Messages go through another broker, of which the sandbox knows nothing."}
			}
		}
		if err == nil {
			out, err = run(c)
		}
		if r.Context().Err() != nil {
			return // the caller has gone
		}
		a.answer(w, r, operation, out, err)
	})
}

func (a *API) answer(w http.ResponseWriter, r *http.Request, operation string, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	target := clean.Line(r.Method+" "+r.URL.Path, 200)
	if err == nil {
		a.cfg.Logger.Info("data plane call", "operation", operation, "target", target, "status", http.StatusOK)
		_ = json.NewEncoder(w).Encode(out)
		return
	}
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = &apiError{http.StatusInternalServerError, "InternalFailureException", err.Error()}
	}
	a.cfg.Logger.Info("data plane call", "operation", operation, "target", target, "status", e.status, "error", e)
	w.Header().Set("X-Amzn-Errortype", e.kind)
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": e.message, "traceId": rand.Text()})
}

type apiError struct {
	status        int
	kind, message string
}

func (e *apiError) Error() string { return e.kind + ": " + e.message }

func invalid(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "InvalidRequestException", fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &apiError{http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf(format, args...)}
}

// authorize checks the form of the signature, the client id, and what the behaviour refuses.
func (a *API) authorize(c call, operation string) error {
	header := c.Header.Get("Authorization")
	scope := "/" + a.cfg.Region + "/" + SigningName + "/aws4_request"
	switch {
	case header == "" && !a.cfg.AllowUnsigned:
		return &apiError{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	case header != "" && (!strings.HasPrefix(header, "AWS4-HMAC-SHA256 ") || !strings.Contains(header, scope)):
		return &apiError{http.StatusForbidden, "InvalidSignatureException", "Credential should be scoped to region " + a.cfg.Region + " and service '" + SigningName + "'."}
	case c.behaviour.Throttled, a.calls.Over(c.behaviour.CallsPerSecond, time.Now()):
		return &apiError{http.StatusTooManyRequests, "ThrottlingException", "Rate exceeded"}
	case slices.Contains(c.behaviour.Denied, operation):
		return c.behaviour.denied(operation)
	case operation == "GetRetainedMessage": // of no client
	case c.clientID == "" || len(c.clientID) > 128 || strings.HasPrefix(c.clientID, "$"):
		return invalid("clientId must have 1 to 128 bytes and not begin with $.")
	}
	return nil
}

func (b Behaviour) denied(permission string) error {
	text := "The caller is not authorized to perform iot:" + permission + " on this resource"
	if b.DeniedBy != "" {
		text += " because no " + b.DeniedBy + " allows the iot:" + permission + " action"
	}
	return &apiError{http.StatusForbidden, "ForbiddenException", text + "."}
}
