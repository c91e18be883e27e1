// Package sandbox is AWS IoT in one process, as far as Secure Tunneling needs it: an MQTT broker, the
// control APIs, the data endpoint and a certificate authority, on local ports. It is for tests,
// demonstrations and a first look, not for production: it lets every caller in, and keeps
// nothing but certificates.
//
// It shares only the wire codec with the agent and the operator's commands, so that it can check them.
// This package composes: tunnels holds the state, broker, api, registry, dataplane and relay the rules.
package sandbox
