// Package presence finds out whether a thing's agent is connected to AWS IoT, and asks it for a sign of life, before a
// tunnel is opened and paid for.
//
// It asks by MQTT client id, since fleet indexing's connectivity counts only the client that is named like its thing,
// and culvertd's client id is another one. It does not know tunnels.
package presence
