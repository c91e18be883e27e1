// Package operator is the operator's side of a tunnel: it configures how AWS is reached and explains AWS's errors.
//
// It knows no command line and nothing of the device's side. The calls of the control API are in iotsecuretunneling.
package operator
