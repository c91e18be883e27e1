// Package roots explains TLS failures on systems without root certificates: a small image without them
// fails like one under attack, and needs another remedy.
//
// It never changes what is trusted.
package roots
