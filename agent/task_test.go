package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func waits(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestATaskThatFailsEndsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, broken := false, errors.New("broken")
		err := runTasks(t.Context(), []task{{name: "one", run: waits}, {name: "two", run: func(context.Context) error { return broken }}}, func() { started = true }, StopTimeout)
		if !errors.Is(err, broken) || !started {
			t.Errorf("%v, started %v", err, started)
		}
	})
}

func TestATaskThatDoesNotEndIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		defer close(over)
		cancel()
		began := time.Now()
		err := runTasks(ctx, []task{{name: "good", run: waits}, {name: "hanging", run: func(context.Context) error { <-over; return nil }}}, nil, StopTimeout)
		if err == nil || !strings.Contains(err.Error(), ": hanging") || strings.Contains(err.Error(), "good") || time.Since(began) != StopTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
