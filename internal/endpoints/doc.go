// Package endpoints returns the host names of AWS IoT Secure Tunneling for a region in any AWS
// partition.
//
// It knows no ports, paths or overrides. It never falls back from a FIPS name to a plain one: a user who
// asked for FIPS must not silently get less.
package endpoints
