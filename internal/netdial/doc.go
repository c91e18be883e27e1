// Package netdial opens the TCP connections to the MQTT broker and to the tunnel service's data
// endpoint, through a web proxy where the environment names one.
//
// It does not know what is spoken over a connection: callers do TLS with the target themselves, see
// internal/tlsdial. It checks a certificate only of an https:// proxy.
package netdial
