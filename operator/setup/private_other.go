//go:build !unix

package setup

import "io/fs"

// isPrivate reports true: file modes do not tell here.
func isPrivate(fs.FileInfo) bool { return true }
