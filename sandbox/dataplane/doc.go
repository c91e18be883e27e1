// Package dataplane is the sandbox's part of AWS IoT's data plane that shows and reaches connected
// clients: GetConnection, ListSubscriptions, SendDirectMessage and DeleteConnection, and GetRetainedMessage
// (AWS IoT data-plane API reference).
//
// It knows no tunnels. Like the sandbox's other APIs it checks a signature's form and never whose it is.
package dataplane
