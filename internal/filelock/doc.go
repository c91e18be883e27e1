// Package filelock locks a file for one process, so that two programs do not share what only one can use.
//
// It does not know what is protected. The kernel drops a lock with its holder, so a lock is never stale.
package filelock

import "errors"

// ErrLocked is the error of a file that another process has locked, or this one by another [Lock].
var ErrLocked = errors.New("locked by another process")
