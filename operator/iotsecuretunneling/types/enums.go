package types

// ClientMode is which sides' tokens a rotation replaces.
type ClientMode string

// The client modes.
const (
	ClientModeSource      ClientMode = "SOURCE"
	ClientModeDestination ClientMode = "DESTINATION"
	ClientModeAll         ClientMode = "ALL"
)

// Values returns all client modes that are known today.
func (ClientMode) Values() []ClientMode {
	return []ClientMode{ClientModeSource, ClientModeDestination, ClientModeAll}
}

// ConnectionStatus is that of one side of a tunnel.
type ConnectionStatus string

// The connection states.
const (
	ConnectionStatusConnected    ConnectionStatus = "CONNECTED"
	ConnectionStatusDisconnected ConnectionStatus = "DISCONNECTED"
)

// Values returns all connection states that are known today.
func (ConnectionStatus) Values() []ConnectionStatus {
	return []ConnectionStatus{ConnectionStatusConnected, ConnectionStatusDisconnected}
}

// TunnelStatus is that of a whole tunnel. A closed one can never be opened again.
type TunnelStatus string

// The tunnel states.
const (
	TunnelStatusOpen   TunnelStatus = "OPEN"
	TunnelStatusClosed TunnelStatus = "CLOSED"
)

// Values returns all tunnel states that are known today.
func (TunnelStatus) Values() []TunnelStatus {
	return []TunnelStatus{TunnelStatusOpen, TunnelStatusClosed}
}
