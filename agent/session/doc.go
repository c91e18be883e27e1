// Package session keeps the tunnels of a device: one session for each client access token.
//
// A session makes a client token of its own, writes the pair of tokens down, connects, waits, connects
// again and ends. It knows no MQTT and no configuration file: tokens arrive by
// [Manager.Accept].
//
// A notification names no tunnel, so that a new tunnel and a new token of a running one look alike
// (AWS IoT developer guide, "Configure a remote device and use IoT agent"). Therefore sessions are
// told apart by their token's hash, and a new one never ends another: the service does that.
package session
