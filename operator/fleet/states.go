package fleet

import (
	"context"

	"github.com/culvert-iot/culvert/operator/presence"
)

// atATime is how many things are asked about at once.
const atATime = 16

// Thing is a thing and the state of its agent.
type Thing struct {
	Name  string
	State presence.State
	Err   error // why the state is not known; nil if it is
}

// Looker finds out the state of a thing's agent; [presence.Client] is one.
type Looker interface {
	Look(ctx context.Context, thing string) (presence.State, error)
}

// Look asks for the states of things, some at a time, and returns them in the order of names.
func Look(ctx context.Context, looker Looker, names []string) []Thing {
	things := make([]Thing, len(names))
	for i, name := range names {
		things[i] = Thing{Name: name, Err: context.Canceled} // unless it is asked for
	}
	Each(ctx, atATime, names, func(i int, name string) {
		state, err := looker.Look(ctx, name)
		things[i] = Thing{name, state, err}
	})
	return things
}
