//go:build !unix

package holder

import (
	"context"
	"errors"
	"io/fs"
	"net"
)

// Supported reports whether this system has holders. Elsewhere each command has a tunnel to itself.
const Supported = false

func (c *Client) start(*net.UnixListener) error { return errors.ErrUnsupported }

// Run is not for this system.
func Run(context.Context, *Server, string, string) error { return errors.ErrUnsupported }

func ownedBy(fs.FileInfo, int) bool { return true }
