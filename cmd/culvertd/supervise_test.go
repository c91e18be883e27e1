package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/agent"
)

type device struct{ subscribed chan struct{} }

func (d device) Status() agent.Status {
	return agent.Status{MQTT: agent.MQTTStatus{State: agent.Connecting}}
}
func (d device) Subscribed() <-chan struct{} { return d.subscribed }
func (d device) Stuck() string               { return "" }

func TestADeviceWithoutNetworkIsReadyAllTheSame(t *testing.T) {
	told := systemdSocket(t)
	t.Setenv("WATCHDOG_USEC", "")
	var early, late []string
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d, hup, reloads := device{make(chan struct{})}, make(chan os.Signal, 1), 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			supervise(ctx, slog.New(slog.DiscardHandler), d, hup, func() { reloads++ })
		}()
		hup <- syscall.SIGHUP
		time.Sleep(readyWithin - time.Second)
		synctest.Wait()
		early = told()
		if reloads != 1 {
			t.Errorf("%d reloads", reloads)
		}
		time.Sleep(2 * time.Second)
		close(d.subscribed) // after it had been told: nothing more is
		time.Sleep(time.Minute)
		late = told()
		cancel()
		<-done
	})
	if want := []string{"STATUS=mqtt connecting, no tunnel"}; !slices.Equal(early, want) {
		t.Errorf("before: %q, want %q", early, want)
	}
	if want := []string{"READY=1"}; !slices.Equal(late, want) {
		t.Errorf("then: %q, want %q", late, want)
	}
}
