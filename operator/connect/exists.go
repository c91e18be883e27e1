package connect

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// lookUpTime bounds the wait for an answer that can be done without.
const lookUpTime = 3 * time.Second

// lookUp asks whether the thing exists, while an open tunnel is looked for.
func (f *finder) lookUp(ctx context.Context) {
	if f.ThingExists == nil {
		return
	}
	answer := make(chan bool, 1)
	f.exists = answer
	go func() {
		ctx, cancel := context.WithTimeout(ctx, lookUpTime)
		defer cancel()
		exists, err := f.ThingExists(ctx, f.thing)
		if err != nil {
			f.Logger.Debug("thing not looked up", "error", err)
		}
		answer <- exists || err != nil
	}()
}

// missing returns an error if there is no such thing.
func (f *finder) missing() error {
	if f.exists == nil || <-f.exists {
		return nil
	}
	return f.noThing(f.thing)
}

// CheckThing returns an error if the account has no such thing. If that cannot be found out within 3 s, it returns nil.
func (c Config) CheckThing(ctx context.Context, thing string) error {
	if c.ThingExists == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	if exists, err := c.ThingExists(ctx, thing); err == nil && !exists {
		return c.noThing(thing)
	}
	return nil
}

func (c *Config) noThing(thing string) error {
	advice := "check the name, --profile and --region; culvert ls lists the things that exist"
	if name, port, isPort := strings.Cut(thing, ":"); isPort && strings.Trim(port, "0123456789") == "" {
		advice = "give the thing alone, as in culvert ssh " + name + "; a local port is SERVICE=PORT, as in culvert connect " + name + " SSH=" + port
	}
	return &Error{Reason: DeviceAbsent, Text: "there is no thing " + thing + " in " + cmp.Or(c.Region, "this region") + " of this account", hint: advice}
}
