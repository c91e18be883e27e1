// Package agent is a device's control plane: it takes notifications from MQTT or from the control socket,
// and turns each into a running tunnel.
//
//	MQTT -> notify.Client -------------+
//	                                   +-> session.Manager -> tunnels
//	control socket -> notify.Decode ---+
//
// It wires its parts and knows nothing of the wire format, of signals or of systemd.
package agent
