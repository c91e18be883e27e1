//go:build !linux

package main

// unmapText is for Linux.
func unmapText() {}
