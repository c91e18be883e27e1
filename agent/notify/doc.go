// Package notify keeps one MQTT connection to AWS IoT Core with one subscription, and decodes and checks
// the notifications that arrive on it.
//
// It knows nothing of tunnels and sessions. It does not de-duplicate, since only the sessions know which
// tokens they have seen. A payload that came another way (culvertd notify) goes through the same [Decode].
package notify
