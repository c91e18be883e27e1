//go:build !linux

package metrics

import "time"

// Resources are what the process has of the machine. What the system does not tell is 0.
type Resources struct {
	CPU         time.Duration // user and system
	Resident    int64         // bytes in RAM
	Descriptors int
}

// Usage knows nothing here.
func Usage() Resources { return Resources{} }
