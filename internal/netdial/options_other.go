//go:build !linux

package netdial

import "syscall"

// setOptions does nothing: only Linux has TCP_USER_TIMEOUT, and few have TCP_NOTSENT_LOWAT. Keep-alive probes and the protocols' own
// pings notice a vanished peer elsewhere.
func setOptions(string, string, syscall.RawConn) error { return nil }
