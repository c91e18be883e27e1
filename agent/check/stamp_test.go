package check

import (
	"sync/atomic"
	"testing"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
)

// What is known of a disk that hangs must be said before the stamp of the time is read from it.
func TestADiskThatHangsAtTheStampOfTheTimeHoldsNothingUp(t *testing.T) {
	b := newBed(t)
	cfg, err := config.Load(b.files.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	thawed := make(chan struct{})
	defer close(thawed)
	var said, reads atomic.Int32
	b.opts.Config = cfg
	b.opts.readStamp = func(path string) ([]byte, error) {
		reads.Add(1)
		if said.Load() == 0 {
			t.Error("the stamp is read before a word about the state directory")
		}
		<-thawed
		return agent.ReadStamp(path)
	}
	check := func() Report {
		said.Store(0)
		return Run(t.Context(), b.opts, func(r *Result) {
			if r.ID == "state" {
				said.Store(1)
			}
		})
	}
	r := check()
	for _, id := range []string{"mqtt.tls", "tunnel.tls", "clock"} {
		if list := find(r, id); len(list) != 1 || list[0].Status != OK {
			t.Errorf("%s:\n%s", id, text(r))
		}
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("the stamp was read %d times", n)
	}
	b.opts.Offline = true
	check()
	if n := reads.Load(); n != 1 {
		t.Error("a check without servers reads the stamp")
	}
}
