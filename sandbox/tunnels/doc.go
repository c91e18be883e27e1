// Package tunnels holds the state of every tunnel of the sandbox: which token opens what, for which side
// and until when, and which sides are connected.
//
// It knows no HTTP, websockets or MQTT. The control API changes the state, the relay asks for admission,
// and the broker publishes its notifications. The control API checks the limits of fields.
package tunnels
