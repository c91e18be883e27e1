package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// Fault answers calls with an error, or late. Its zero value throttles the next call, whichever it is.
type Fault struct {
	Operation string        `json:"operation,omitempty"` // such as OpenTunnel; "" means any
	Count     int           `json:"count,omitempty"`     // how many calls it is for; 0 means 1
	Delay     time.Duration `json:"-"`                   // waited before the answer

	// Type of the error, such as AccessDeniedException; "" means ThrottlingException, unless there is a Delay: then the
	// call goes through.
	Type    string `json:"type,omitempty"`
	Message string `json:"message,omitempty"` // "" means a general one
	Status  int    `json:"status,omitempty"`  // HTTP status; 0 means 400
}

var errorType = regexp.MustCompile(`^[A-Za-z0-9]{1,128}$`)

// Fail adds a fault behind those that are pending. Error: its operation or type cannot be.
func (a *API) Fail(f Fault) error {
	if _, ok := operations[f.Operation]; f.Operation != "" && !ok {
		return errors.New("no such operation; names are as in OpenTunnel")
	}
	if f.Type != "" && !errorType.MatchString(f.Type) || f.Status != 0 && (f.Status < 400 || f.Status > 599) || f.Delay < 0 || f.Count < 0 {
		return errors.New("type must be 1 to 128 letters and digits, status 400 to 599, delay and count not negative")
	}
	if f.Count == 0 {
		f.Count = 1
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, &f)
	return nil
}

// Throttle answers the next n calls with ThrottlingException.
func (a *API) Throttle(n int) {
	if n > 0 {
		_ = a.Fail(Fault{Count: n}) // cannot be wrong
	}
}

// ClearFaults forgets the pending faults.
func (a *API) ClearFaults() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = nil
}

// PendingFaults returns what is still to come.
func (a *API) PendingFaults() []Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []Fault{}
	for _, f := range a.faults {
		list = append(list, *f)
	}
	return list
}

// fault plays the first pending fault that is for this operation.
func (a *API) fault(ctx context.Context, operation string) error {
	a.mu.Lock()
	i := slices.IndexFunc(a.faults, func(f *Fault) bool { return f.Operation == "" || f.Operation == operation })
	if i < 0 {
		perSecond := a.behaviour.CallsPerSecond
		a.mu.Unlock()
		if a.calls.Over(perSecond, time.Now()) {
			return &Error{Type: typeThrottling, Message: "Rate exceeded", Status: http.StatusBadRequest}
		}
		return nil
	}
	f := *a.faults[i]
	if a.faults[i].Count--; a.faults[i].Count == 0 {
		a.faults = slices.Delete(a.faults, i, i+1)
	}
	a.mu.Unlock()
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.Type == "" {
			return nil
		}
	}
	e := &Error{Type: f.Type, Message: f.Message, Status: f.Status}
	if e.Type == "" {
		e.Type = typeThrottling
	}
	if e.Message == "" {
		e.Message = "The sandbox was told to answer so."
		if e.Type == typeThrottling {
			e.Message = "Rate exceeded"
		}
	}
	if e.Status == 0 {
		e.Status = http.StatusBadRequest
	}
	return e
}
