package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/services"
)

// services dials all targets side by side, as a tunnel's connections would.
func (c *checkup) services(ctx context.Context) []*Result {
	table := services.NewTable(c.cfg.Services)
	table.SetConnectTimeout(c.cfg.Tunnel.ConnectTimeout)
	list := make([]*Result, len(c.cfg.Services))
	places := make(chan struct{}, 16)
	var dials sync.WaitGroup
	for i, s := range c.cfg.Services {
		if s.Disabled {
			list[i] = skipped("service", "%s, disabled", s.Target()).of(s.Name)
			continue
		}
		dials.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			began := time.Now()
			list[i] = c.service(ctx, table, s).of(s.Name).since(began)
		})
	}
	dials.Wait()
	return list
}

func (c *checkup) service(ctx context.Context, table *services.Table, s services.Service) *Result {
	const id = "service"
	if s.Network == "unix" && c.user != nil && c.user.uid != superuser && c.EUID() == superuser {
		if at, ok := c.user.reach(s.Address, mayWrite); !ok && !errors.Is(exists(s.Address), fs.ErrNotExist) {
			return failed(id, fmt.Sprintf("give %s access to it, for example by its group", c.user.name),
				"%s: %s, which runs the daemon, may not use %s", s.Target(), c.user.name, describe(at))
		}
	}
	conn, err := table.Dial(ctx, s.Name)
	if err == nil {
		defer func() { _ = conn.Close() }()
		if isSSH(s) {
			return greet(conn, s.Target())
		}
		return well(id, "%s accepts connections", s.Target())
	}
	var d *services.DialError
	if ctx.Err() != nil || !errors.As(err, &d) {
		return failed(id, "", "%s: no result: %v", s.Target(), c.late(ctx, err))
	}
	return failed(id, cmp.Or(d.Hint(), "correct the target, or what listens there"), "%v", d)
}

// late replaces err if the whole check's time was over.
func (c *checkup) late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the check's time of %v is over (--timeout)", c.Timeout)
	}
	return err
}
