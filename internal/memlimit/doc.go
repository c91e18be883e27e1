// Package memlimit finds how much memory the process may use.
//
// It knows nothing of what the memory is for, and changes nothing.
package memlimit
