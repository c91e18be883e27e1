//go:build !linux

package netdial

import "syscall"

// setUserTimeout does nothing: only Linux has TCP_USER_TIMEOUT. Keep-alive probes and the protocols' own
// pings notice a vanished peer elsewhere.
func setUserTimeout(string, string, syscall.RawConn) error { return nil }
