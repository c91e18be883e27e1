// Package broker is the sandbox's MQTT broker. Towards devices it behaves as AWS IoT Core does: mutual
// TLS, ALPN on port 443, IoT policies that refuse by dropping the connection, no QoS 2, one
// connection for each client id, persistent sessions with replay. It can fail on demand.
//
// It knows no tunnels: it gets topics and payloads. The MQTT protocol itself is mochi-mqtt's.
package broker
