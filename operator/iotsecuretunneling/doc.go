// Package iotsecuretunneling is a client of AWS IoT Secure Tunneling's control API: its eight operations, typed.
//
// Names and types are those of the AWS SDK for Go's module of the same name, so that a program can change to that one
// by its import path. Underneath is the SDK's core: configuration, credentials, signing, retries and middleware.
//
// It knows no commands, no output and no data plane: what a token is for is not its concern.
package iotsecuretunneling
