// Package notify is the device's line to AWS IoT Core: one MQTT connection, one subscription, and the
// notifications that arrive on it, decoded and checked.
//
// It knows nothing of tunnels and sessions: it hands over payloads and, on request, decodes them into values.
// It does not de-duplicate either, since only the sessions know which tokens they have seen. A payload that
// came another way (culvertd notify) goes through the same Decode.
package notify
