//go:build !linux

package main

import "runtime/debug"

// trimMemory gives back what an idle process does not need.
func trimMemory() { debug.FreeOSMemory() }
