// Package e2e holds the tests of everything together: the real culvertd and culvert as processes, against the sandbox
// and against programs that Culvert did not write, namely mosquitto, OpenSSH and the AWS CLI.
//
// It knows no unexported thing of any package: what a test here sees, a user sees. The tests need the go command, to
// build the programs that they run. One that needs a program that is not installed is skipped and says so; with
// CULVERT_E2E=required in the environment (make e2e) it fails instead.
package e2e
