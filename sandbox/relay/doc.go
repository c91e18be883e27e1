// Package relay is the sandbox's data endpoint. It joins the two websockets of a tunnel and checks both
// sides by every rule of the public protocol guides of AWS IoT Secure Tunneling (V1, V2, V3).
//
// It knows no control API and no MQTT, and shares only the wire codec with the product that it checks.
// By default it is awkward: it cuts and merges websocket messages at random, as the guides allow.
package relay
