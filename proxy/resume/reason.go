package resume

import "fmt"

// Reason is why a connection is over, as CLOSE and GONE carry it. Unknown ones are resets.
type Reason byte

// The reasons.
const (
	Done        Reason = 0 // both directions have ended in order
	Reset       Reason = 1 // the application broke it off
	Refused     Reason = 2 // the target was not reached
	LimitHit    Reason = 3 // a limit of the service
	Stopped     Reason = 4 // the program stops
	Unknown     Reason = 5 // no such connection: it timed out, or the program was restarted
	Protocol    Reason = 6 // the far end broke the rules, or the bytes do not match
	OutOfMemory Reason = 7 // too much waits in the process
)

var reasonNames = [...]string{
	"done", "reset by the application", "target not reached", "limit", "stopped", "not known here any more", "protocol violated", "out of memory",
}

// String describes the reason for logs.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", byte(r))
}
