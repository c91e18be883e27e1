//go:build !linux

package footprint

// unmapText does something on Linux only.
func unmapText() {}
