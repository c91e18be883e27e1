// Package operator is the operator's end of a tunnel: how to reach AWS and what its errors mean.
//
// It knows no command line and nothing of the device's side. The control API's calls are in iotsecuretunneling.
package operator
