//go:build unix

package stream

import (
	"net"
	"testing"

	"github.com/culvert-iot/culvert/internal/socketpair"
)

// unixPair needs no name in the file system, which costs more than the sockets.
func unixPair(tb testing.TB) (a, b net.Conn) {
	tb.Helper()
	a, b, err := socketpair.New()
	if err != nil {
		tb.Fatal(err)
	}
	return a, b
}
