//go:build !linux

package main

import (
	"context"
	"errors"
)

// away is a network name space, which only Linux has.
func away(context.Context, path) (place, error) {
	return place{}, errors.New("network name spaces are there only on Linux")
}
