//go:build !unix

package control

import "io"

// lockFile does without: the daemon is for Linux, and this only lets its packages compile elsewhere.
func lockFile(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func closeToOthers(uintptr) {}
