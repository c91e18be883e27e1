package changes

import (
	"context"
	"os/exec"
	"sync"
	"testing"
	"time"
)

func TestAnAddressThatComesAndGoesIsNoticed(t *testing.T) {
	const address = "192.0.2.77/32"
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan struct{}, 8)
	f, err := subscribe()
	if err != nil {
		t.Skip("the kernel does not tell of addresses here: ", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { addresses(ctx, f, func() { seen <- struct{}{} }) })
	defer watching.Wait()
	defer cancel()
	for _, what := range []string{"add", "del"} {
		if out, e := exec.CommandContext(ctx, "ip", "address", what, address, "dev", "lo").CombinedOutput(); e != nil {
			t.Skipf("addresses cannot be changed here: %v: %s", e, out)
		}
		select {
		case <-seen:
		case <-time.After(20 * time.Second):
			t.Errorf("%s was not noticed", what)
		}
	}
}

func TestBothEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	for _, watch := range []func(context.Context, func()){Addresses, Clock} {
		watching.Go(func() { watch(ctx, func() {}) })
	}
	<-time.After(50 * time.Millisecond)
	cancel()
	done := make(chan struct{})
	go func() { watching.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("they go on")
	}
}
