package connect

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Whether a thing exists is good to know, but no reason to wait for a control plane that is silent.
func TestTheLookAtAThingIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{ThingExists: func(ctx context.Context, _ string) (bool, error) {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Minute): // the client's own patience
			}
			return true, context.DeadlineExceeded
		}}
		began := time.Now()
		if err := cfg.CheckThing(t.Context(), "pi-1"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
