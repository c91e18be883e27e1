// Package layering tests which packages of this module import which, and what the binaries link.
package layering
