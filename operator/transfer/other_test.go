//go:build !unix

package transfer

import (
	"os"
	"testing"
)

func makeFIFO(t *testing.T, _ string) {
	t.Helper()
	t.Skip("this system has no FIFOs")
}

func currentUmask(*testing.T) os.FileMode { return 0 }
