// Package cachefile keeps small texts in files below the user's cache directory, for the user alone.
//
// It is for knowledge that a program can gain again: failures are silent, and a text that cannot be read is none.
package cachefile
