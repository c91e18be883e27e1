// Package configs holds the example configurations of the device daemon, for binaries that print them.
//
// It knows nothing of what their keys mean.
package configs
