// Package awscli holds a command for each operation of AWS IoT Secure Tunneling, with the options, the output and the
// exit codes of the AWS CLI, so that a script written for "aws iotsecuretunneling X" works with "culvert X".
//
// It knows no data plane: what is done with a token is not its concern.
package awscli
