// Package changes notices that the machine's clock was set, or that its network addresses changed, without
// polling. It works on Linux, and does nothing elsewhere or where a sandbox forbids it.
//
// It does not know what should follow.
package changes
