//go:build !unix

package fleet

import (
	"context"
	"errors"
	"log/slog"

	"github.com/culvert-iot/culvert/sandbox"
)

// Options are what a fleet is made of beside its plan.
type Options struct {
	Devices     []string
	OwnServices bool
	Logger      *slog.Logger
}

// Fleet is a set of devices. This system has none.
type Fleet struct{ SSHConfig, NoSSH string }

// Start fails: the agent does not run on this system.
func Start(context.Context, *sandbox.Sandbox, Plan, Options) (*Fleet, error) {
	return nil, errors.New("the devices of a fleet run on Linux and macOS only")
}

// Close does nothing.
func (*Fleet) Close() {}
