// Package localproxy is one side of one tunnel for people and scripts that hold an access token already: a
// stand-in for the reference local proxy of AWS IoT Secure Tunneling, source and destination, with its options,
// environment variables and files.
//
//	flags, --config, environment -> Load -> Config -> Run -> tunnel, listeners or targets, log lines
//
// It knows no control plane and no command-line package: it cannot open or rotate a tunnel, and its caller parses
// the flags. What Run returns says whether the tunnel was closed, the token was rejected or something failed.
package localproxy
