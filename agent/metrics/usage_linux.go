package metrics

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Resources are what the process has of the machine. What the system does not tell is 0.
type Resources struct {
	CPU         time.Duration // user and system
	Resident    int64         // bytes in RAM
	Descriptors int
}

// Usage asks the system, by getrusage(2) and proc(5).
func Usage() Resources {
	var r Resources
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		r.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(data); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			r.Resident = pages * int64(os.Getpagesize())
		}
	}
	if d, err := os.Open("/proc/self/fd"); err == nil {
		names, _ := d.Readdirnames(-1)
		_ = d.Close()
		r.Descriptors = max(len(names)-1, 0) // without the one that this took
	}
	return r
}
