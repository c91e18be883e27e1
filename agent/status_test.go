package agent

import (
	"testing"
	"time"
	"unsafe"

	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/agent/session"
)

// before returns the time d ago as it was stamped before the clock was set ahead by step: its wall clock is behind, its
// monotonic one is right. Package time has no way to make one; its first word holds the seconds from bit 30 on.
func before(now time.Time, d, step time.Duration) time.Time {
	t := now.Add(-d)
	*(*uint64)(unsafe.Pointer(&t)) -= uint64(step/time.Second) << 30
	return t
}

func TestAgesDoNotChangeWhenTheClockIsSet(t *testing.T) {
	now := time.Now()
	const step = 3 * 24 * time.Hour
	stamp := func() time.Time { return before(now, time.Minute, step) }
	if got := now.Round(0).Sub(stamp().Round(0)); got != time.Minute+step {
		t.Fatalf("the test's own stamp is %v old by the wall clock", got)
	}
	s := Status{
		Started: stamp(), Now: now, MQTT: MQTTStatus{Since: stamp(), LastNotify: stamp(), LastErrorAt: stamp()},
		Tunnels: []session.Status{{Since: stamp(), Received: stamp(), LastErrorAt: stamp(), Services: []session.ServiceStatus{{LastErrorAt: stamp()}}}},
		Hooks:   &hook.Status{LastErrorAt: stamp()}, State: &StateStatus{LastErrorAt: stamp()},
	}
	s.byElapsedTime()
	for name, at := range map[string]time.Time{
		"started": s.Started, "mqtt since": s.MQTT.Since, "mqtt error": s.MQTT.LastErrorAt, "notification": s.MQTT.LastNotify, "since": s.Tunnels[0].Since,
		"received": s.Tunnels[0].Received, "error": s.Tunnels[0].LastErrorAt, "service": s.Tunnels[0].Services[0].LastErrorAt,
		"hook": s.Hooks.LastErrorAt, "state": s.State.LastErrorAt,
	} {
		// As the command that shows it does, which has only what JSON holds.
		if got := s.Now.Round(0).Sub(at.Round(0)); got != time.Minute {
			t.Errorf("%s: a minute looks like %v", name, got)
		}
	}
	if !s.Tunnels[0].NextAttempt.IsZero() {
		t.Error("a time that never was is shown")
	}
}
