// Command culvertd makes a device reachable through AWS IoT Secure Tunneling: it waits for
// notifications over MQTT and serves the tunnels that they open.
//
// This package parses arguments, reads the configuration and talks to systemd. Package agent does
// the work.
package main
