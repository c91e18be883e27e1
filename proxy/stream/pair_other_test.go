//go:build !unix

package stream

import (
	"net"
	"testing"
)

func unixPair(tb testing.TB) (a, b net.Conn) {
	tb.Helper()
	return socketPair(tb, "unix", tb.TempDir()+"/s")
}
