//go:build !linux

package changes

import "context"

// Addresses waits until ctx ends.
func Addresses(ctx context.Context, _ func()) { <-ctx.Done() }

// Clock waits until ctx ends.
func Clock(ctx context.Context, _ func()) { <-ctx.Done() }
