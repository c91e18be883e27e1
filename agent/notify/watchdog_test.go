package notify

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/internal/settings"
)

// TestAHandlerThatNeverReturnsIsNoticed plays a notification whose handling hangs, as on a dead disk.
func TestAHandlerThatNeverReturnsIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{ThingName: "pi", Broker: settings.Broker{Endpoint: "broker", Port: 8883}})
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.inbox.deliver(ctx, func(Notification) { <-release })
		}()
		time.Sleep(time.Hour)
		if step := c.Stuck(); step != "" {
			t.Errorf("idle for an hour: stuck at %q", step)
		}
		c.inbox.put(c.topic, note("t"), func() {})
		time.Sleep(stepLimit - time.Second)
		if step := c.Stuck(); step != "" {
			t.Errorf("within the limit: stuck at %q", step)
		}
		time.Sleep(2 * time.Second)
		if step := c.Stuck(); step != "take a notification" {
			t.Errorf("past the limit: stuck at %q", step)
		}
		close(release)
		synctest.Wait()
		if step := c.Stuck(); step != "" {
			t.Errorf("after it has returned: stuck at %q", step)
		}
		cancel()
		<-done
	})
}
