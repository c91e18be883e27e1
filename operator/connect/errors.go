package connect

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// Reason is why something failed, where the control API's own error does not say it.
type Reason int

// The reasons.
const (
	BadRequest      Reason = iota // what was asked for cannot be
	DeviceAbsent                  // the device did not connect in time
	NoDataPlane                   // the data endpoint cannot be reached or refuses this side
	TunnelClosed                  // the tunnel was closed or has expired
	TakenOver                     // another operator connected to the tunnel
	LinkLost                      // the websocket ended, and the connections with it
	DeviceGone                    // the device left the tunnel
	ConnectionReset               // the connection failed on the device
	ServiceRefused                // the device does not connect to the service, or has stopped doing so
)

// Error is a failure and what to do about it.
type Error struct {
	Reason Reason
	Text   string // one line
	Err    error  // what it comes from; may be nil, and is not repeated in Text

	hint string
}

// Hint returns what to do about it in one line, or "".
func (e *Error) Hint() string { return e.hint }

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return clean.Line(fmt.Sprintf("%s: %v", e.Text, e.Err), 0) // it may quote a stranger's certificate
}

func (e *Error) Unwrap() error { return e.Err }

func usage(format string, args ...any) error {
	return &Error{Reason: BadRequest, Text: fmt.Sprintf(format, args...)}
}

func closedError(id string) error {
	return &Error{Reason: TunnelClosed, Text: "tunnel " + id + " was closed or has expired", hint: "run the command again: it opens a new one"}
}

func takenError(id string) error {
	return &Error{
		Reason: TakenOver, Text: "another operator has connected to tunnel " + id,
		hint: "run the command again: it takes another tunnel",
	}
}

// apiCode is the type of an error that the control API answered with; "" for others.
func apiCode(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

func isGone(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

// isThrottled tells of errors after which the same call may succeed later.
func isThrottled(err error) bool {
	switch apiCode(err) {
	case "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded":
		return true
	}
	return false
}

// isRefusedInput reports whether the service rejected the request itself, for example too many services.
func isRefusedInput(err error) bool {
	switch apiCode(err) {
	case "InvalidRequestException", "ValidationException", "LimitExceededException":
		return true
	}
	return false
}

// isDenied tells of errors that are about the caller, not about the tunnel: another tunnel would not help.
func isDenied(err error) bool {
	switch apiCode(err) {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedException", "ForbiddenException",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "ExpiredTokenException", "ExpiredToken",
		"RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignatureException",
		"MissingAuthenticationTokenException":
		return true
	}
	return false
}
