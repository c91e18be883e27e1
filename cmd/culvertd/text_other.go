//go:build !linux

package main

// unmapText does something on Linux only.
func unmapText() {}
