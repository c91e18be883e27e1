// Package handover keeps sockets and a few bytes in systemd's file descriptor store while one process of a service is
// replaced by the next (sd_notify(3), FDSTORE=1).
//
// It does not know what the sockets are for.
package handover
