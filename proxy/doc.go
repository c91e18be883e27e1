// Package proxy carries one tunnel over one websocket: from the handshake to the local sockets and back.
//
//	Destination, on the device:   wsconn.Dial -> frame -> stream.Destination -> DialService -> target
//	Source, at the operator:      wsconn.Dial -> frame -> stream.Source      <- Open, Serve <- client
//
// It knows no MQTT, no configuration file and no AWS API, and it does not retry: Run returns why the
// websocket ended, and the holder of the tokens decides what that means.
package proxy
