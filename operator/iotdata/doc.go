// Package iotdata asks AWS IoT's data plane which MQTT clients are connected: GetConnection,
// ListSubscriptions, SendDirectMessage and DeleteConnection, and reads retained messages (AWS IoT API reference, "AWS
// IoT Data Plane").
//
// The SDK's own module for this service is not on every module proxy, so this client uses the SDK's core
// instead: credentials, signing, retries and error types are the SDK's.
//
// It does not know tunnels, nor which client id a thing's agent uses.
package iotdata
