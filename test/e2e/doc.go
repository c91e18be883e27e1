// Package e2e tests everything together: the real culvertd and culvert as processes, against the sandbox
// and against programs of others: mosquitto, OpenSSH, the AWS CLI.
//
// A test sees only what a user sees. The tests need the go command, which builds the programs. A test that
// needs a program that is not installed is skipped and says so; with CULVERT_E2E=required in the
// environment (make e2e) it fails.
package e2e
