package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/sandbox/rate"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// The names that AWS uses for this service (API model).
const (
	targetPrefix = "IoTSecuredTunneling."
	signingName  = "IoTSecuredTunneling"
	contentType  = "application/x-amz-json-1.1"
)

// maxBody bounds a request: the largest legal one, 200 tags, is well below.
const maxBody = 1 << 20

// Config is what an API is made of. Only Store is required.
type Config struct {
	Store *tunnels.Store

	// AllowUnsigned takes requests without an Authorization header. One that is there must still be well formed.
	AllowUnsigned bool

	// MaxServices is the quota of services in a tunnel. 0 means 3, the published default (service quotas).
	MaxServices int

	Behaviour Behaviour

	// Now dates answers and judges the age of signatures; nil means time.Now.
	Now func() time.Time

	Logger *slog.Logger // nil: silent. Tokens and credentials are never logged.
}

// Behaviour is how errors look, where documents differ. The zero value is what the API reference says.
type Behaviour struct {
	// ErrorStatus is the HTTP status of the errors that the API model declares; 0 means 400. The SDKs' own tests show
	// 403: a client must go by the type alone.
	ErrorStatus int
	// QualifiedTypes writes a name space before the error's type in the body and an address behind it in the header,
	// as other AWS JSON services do.
	QualifiedTypes bool
	// CallsPerSecond, if not 0, bounds the calls a second, of all operations together; the others get
	// ThrottlingException.
	CallsPerSecond int
}

// API answers control calls. It is an http.Handler; its methods are safe for concurrent use.
type API struct {
	cfg Config
	log *slog.Logger

	mu        sync.Mutex
	behaviour Behaviour
	faults    []*Fault

	calls rate.Limiter
}

// New returns an API over a store.
func New(cfg Config) *API {
	if cfg.MaxServices == 0 {
		cfg.MaxServices = 3
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &API{cfg: cfg, log: cfg.Logger, behaviour: cfg.Behaviour}
}

// SetBehaviour changes how errors look from now on.
func (a *API) SetBehaviour(b Behaviour) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behaviour = b
}

// Error is an answer that says no.
type Error struct {
	Type    string // without name space, such as ResourceNotFoundException
	Message string
	Status  int // 0: that of modelled errors
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Error types, those of the API model and the common ones of AWS JSON services.
const (
	typeLimit         = "LimitExceededException"
	typeNotFound      = "ResourceNotFoundException"
	typeValidation    = "ValidationException"
	typeSerialization = "SerializationException"
	typeUnknown       = "UnknownOperationException"
	typeThrottling    = "ThrottlingException"
	typeMissingAuth   = "MissingAuthenticationTokenException"
	typeIncomplete    = "IncompleteSignatureException"
	typeSignature     = "InvalidSignatureException"
)

// ServeHTTP answers one call.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", secret.NewUUID())
	w.Header().Set("Content-Type", contentType)
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	out, err := a.call(r, operation)
	if err == nil {
		body, err := json.Marshal(out)
		if err != nil {
			panic(fmt.Sprintf("encode the output of %s: %v", operation, err)) // plain structs always encode
		}
		a.log.Info("control API call", "target", operation, "status", http.StatusOK)
		_, _ = w.Write(body)
		return
	}
	if r.Context().Err() != nil {
		return // the client is gone
	}
	e := a.explain(err)
	a.mu.Lock()
	b := a.behaviour
	a.mu.Unlock()
	if e.Status == 0 {
		e.Status = max(b.ErrorStatus, http.StatusBadRequest)
	}
	inBody, inHeader := e.Type, e.Type
	if b.QualifiedTypes {
		inBody, inHeader = "com.amazonaws.iot.securedtunneling#"+e.Type, e.Type+":http://internal.amazon.com/coral/com.amazonaws.iot.securedtunneling/"
	}
	a.log.Info("control API call", "target", clean.Line(operation, 64), "status", e.Status, "error", &e)
	w.Header().Set("X-Amzn-Errortype", inHeader)
	body, _ := json.Marshal(map[string]string{"__type": inBody, "message": e.Message}) // strings always encode
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

// explain makes an answer of what went wrong.
func (a *API) explain(err error) Error {
	var e *Error
	var notFound *tunnels.NotFoundError
	var limit *tunnels.LimitError
	var invalid *tunnels.InvalidError
	switch {
	case errors.As(err, &e):
		return *e
	case errors.As(err, &notFound):
		return Error{Type: typeNotFound, Message: notFound.Error()}
	case errors.As(err, &limit):
		return Error{Type: typeLimit, Message: limit.Error()}
	case errors.As(err, &invalid):
		return Error{Type: typeValidation, Message: invalid.Error()}
	}
	return Error{Type: "InternalServerException", Message: err.Error(), Status: http.StatusInternalServerError}
}

func (a *API) call(r *http.Request, operation string) (any, error) {
	unknown := func(format string, args ...any) error {
		return &Error{Type: typeUnknown, Message: fmt.Sprintf(format, args...), Status: http.StatusNotFound}
	}
	if r.Method != http.MethodPost || r.URL.Path != "/" {
		return nil, unknown("The control API is called by POST / with the header X-Amz-Target: %s<Operation>.", targetPrefix)
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != contentType {
		return nil, unknown("The Content-Type must be %s.", contentType)
	}
	run, ok := operations[operation]
	if !ok || !strings.HasPrefix(r.Header.Get("X-Amz-Target"), targetPrefix) {
		return nil, unknown("There is no operation with this X-Amz-Target.")
	}
	if err := a.authorize(r); err != nil {
		return nil, err
	}
	if err := a.fault(r.Context(), operation); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, &Error{Type: typeSerialization, Message: "The request could not be read: " + err.Error()}
	}
	if len(body) > maxBody {
		return nil, &Error{Type: "RequestEntityTooLargeException", Message: "The request is too large.", Status: http.StatusRequestEntityTooLarge}
	}
	in, err := parseInput(body)
	if err != nil {
		return nil, err
	}
	return run(a, in)
}
