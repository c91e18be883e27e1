// Package awscli holds a command for each operation of AWS IoT Secure Tunneling, with the options, the output and the
// exit codes of the AWS CLI: a script written for "aws iotsecuretunneling X" works with "culvert X".
//
// A command decodes its options and documents into the operation's input once, and encodes the output once, into the
// tree that package output prints. It knows no data plane: it opens no connection with a token.
package awscli
