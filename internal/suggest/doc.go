// Package suggest guesses which known word a mistyped one was meant to be.
//
// It does not decide what is wrong, only what comes closest.
package suggest
