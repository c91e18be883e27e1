// Package footprint gives memory back to the system that an idle process does not need.
//
// It knows nothing of when a process is idle, and leaves the garbage collector's settings alone.
package footprint
