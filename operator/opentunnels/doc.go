// Package opentunnels lists open tunnels of an account or of things, with who is connected, and says which of them are unused.
//
// It opens nothing, prints nothing, and does not know holders.
package opentunnels
