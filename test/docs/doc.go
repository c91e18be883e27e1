// Package docs tests that the guides say what the programs do.
package docs
