package fleet

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachIsBoundedAndEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var now, most, calls atomic.Int32
		Each(ctx, 4, make([]string, 100), func(int, string) {
			most.Store(max(most.Load(), now.Add(1)))
			calls.Add(1)
			time.Sleep(time.Second)
			now.Add(-1)
		})
		if most.Load() != 4 || calls.Load() != 12 || now.Load() != 0 {
			t.Errorf("%d at once, %d calls, %d left; want 4, 12 and 0", most.Load(), calls.Load(), now.Load())
		}
	})
}
