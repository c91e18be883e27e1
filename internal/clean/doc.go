// Package clean makes untrusted text safe to show: in a log, on a terminal, in a JSON document that a
// person reads.
//
// It knows nothing of where the text came from, and it hides no secrets: see internal/secret.
package clean
