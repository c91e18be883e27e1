// Command soak runs the real daemon against the sandbox under random faults, and checks every byte. It is
// a test that takes longer than the others: make soak MINUTES=2 SEED=7.
//
// It prints its seed first. The same seed gives the same faults and the same traffic, each in the same
// order.
//
// It holds the daemon to this: no byte is wrong, missing or there twice; a connection ends early only
// where a fault hit it; every connection ends on both sides; the daemon comes back while its token is
// valid; memory, file descriptors and goroutines return to where they were.
package main
