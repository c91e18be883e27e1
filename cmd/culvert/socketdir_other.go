//go:build !unix

package main

// removeStale removes nothing: without locks, this system cannot say which directories are in use.
func removeStale(string, string) {}
