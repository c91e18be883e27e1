//go:build race

package e2e

// raceEnabled says that the tests run under the race detector, so that the programs are built with it too.
const raceEnabled = true
