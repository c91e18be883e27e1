// Package iotsecuretunneling is a client of AWS IoT Secure Tunneling's control API: its eight operations, typed.
//
// Names and types are those of the AWS SDK for Go's module of the same name, so that a program can change to that one
// by its import path. Underneath is the SDK's core: configuration, credentials, signing, retries and middleware.
//
// Requests and responses are encoded and decoded by encoding/json. The package knows no commands, no output and no
// data plane.
package iotsecuretunneling
