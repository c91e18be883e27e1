// Package opentunnels lists the open tunnels of an account or of things, with the ends that are connected, and reports
// which tunnels are unused.
//
// It opens nothing, prints nothing, and does not know holders.
package opentunnels
