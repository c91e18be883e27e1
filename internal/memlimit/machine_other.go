//go:build !linux

package memlimit

func machine() uint64 { return 0 }
