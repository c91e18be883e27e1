package notify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFloodOfNotificationsIsBoundedAndLoggedOnce(t *testing.T) {
	const topic = "$aws/things/t/tunnels/notify"
	for name, test := range map[string]struct {
		topic   string
		payload []byte
		line    string
	}{
		"too long":             {topic, make([]byte, MaxPayload+1), `msg="notification dropped" reason="too long"`},
		"on another topic":     {"other", note("t"), "message on a topic that was not subscribed dropped"},
		"more than is handled": {topic, note("t"), "more arrive than can be handled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				in := newInbox(topic, nil, slog.New(slog.NewTextHandler(&log, nil)))
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				release := make(chan struct{})
				handled, acked := 0, 0
				running.Go(func() { in.deliver(ctx, func(Notification) { handled++; <-release }) })
				const flood = 10_000
				for range flood {
					in.put(test.topic, test.payload, func() { acked++ })
				}
				synctest.Wait()
				if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), test.line) {
					t.Errorf("%d lines:\n%.500s", n, log.String())
				}
				if n := len(in.queue); n > inboxSize {
					t.Errorf("%d wait", n)
				}
				if acked < flood-inboxSize-1 {
					t.Errorf("%d of %d were acknowledged: the broker would send the others again", acked, flood)
				}
				close(release)
				synctest.Wait()
				// It goes on with what comes later.
				before := handled
				in.put(topic, note("t"), func() {})
				synctest.Wait()
				if handled != before+1 {
					t.Error("nothing is handled any more")
				}
				cancel()
				running.Wait()
			})
		})
	}
}

func TestANotificationThatIsTooLongIsLoggedAgainAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		in := newInbox("t", nil, slog.New(slog.NewTextHandler(&log, nil)))
		for i := range 180 {
			in.put("t", make([]byte, MaxPayload+1), func() {})
			time.Sleep(time.Minute)
			if got, want := strings.Count(log.String(), "\n"), i/60+1; got != want {
				t.Fatal(fmt.Sprintf("after %d minutes", i), got, "lines, want", want)
			}
		}
	})
}
