// Package pki is the sandbox's certificate authority: one root, server certificates for its listeners,
// and one certificate for each thing, all ECDSA P-256.
//
// It knows no MQTT, tunnels or policies. The common name of a certificate is its thing's name; AWS IoT
// keeps that relation in its registry.
package pki
