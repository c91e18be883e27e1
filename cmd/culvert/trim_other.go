//go:build !linux

package main

import "runtime/debug"

// trimMemory gives back free heap.
func trimMemory() { debug.FreeOSMemory() }
