// Package retry decides what follows when the tunnel service refuses a handshake or a connection to it
// is lost: another attempt after a delay, or the end of the token.
//
// It is the one place that holds these rules, for the device and for the operator. It knows nothing of
// websockets, and it neither waits nor logs.
package retry
