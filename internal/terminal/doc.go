// Package terminal reports whether a person reads what a program writes.
package terminal
