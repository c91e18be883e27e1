//go:build !unix

package control

func closeToOthers(uintptr) {}
