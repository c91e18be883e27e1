package doctor

import (
	"context"
	"errors"
	"time"
)

// How much of the time that is left a step may take: one in so many parts.
const (
	third = 3
	half  = 2 // for what takes its time: credentials from a program that asks its user, a device far away
	whole = 1
)

// leastTime is what a host must have had to answer in, to be called silent.
const leastTime = time.Second

// step looks at something, within one of so many parts of the time that is left: however many hosts are silent, there is
// time for the next one. It returns what look returns: whether the steps that build on this one are worth it. Without
// time, it looks at nothing and says so in a line with this id; "" has none.
func (d *doctor) step(ctx context.Context, id string, parts time.Duration, look func(context.Context) bool) bool {
	if err := ctx.Err(); err != nil {
		if id != "" && !errors.Is(err, context.Canceled) {
			d.skipped(id, moreTime, "not looked at: the time ran out")
		}
		return false
	}
	d.limit = 0
	if end, ok := ctx.Deadline(); ok {
		d.limit = time.Until(end) / parts
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.limit)
		defer cancel()
	}
	d.route.forget()
	return look(ctx)
}

const moreTime = "give it more time: --timeout"

// isLate reports whether a step's time is over. The network's own timers may notice it before ctx does.
func isLate(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

// late reports an item that was not found out in time. host is the one that was waited for, "" if that is not known.
func (r *run) late(ctx context.Context, id, host string) {
	waited := r.limit.Round(100 * time.Millisecond)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		r.skipped(id, "", "unknown: interrupted")
	case r.limit < leastTime:
		r.skipped(id, moreTime, "unknown: the time ran out")
	case host == "":
		r.failed(id, "check what it waits for; if it is only slow, "+moreTime, "no answer within %v", waited)
	default:
		r.failed(id, "check the network, its firewalls and the web proxy (https_proxy) on the way to this host; if it is only slow, "+moreTime,
			"%s did not answer within %v", host, waited)
	}
}
