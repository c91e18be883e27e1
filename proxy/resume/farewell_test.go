package resume

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestFarewellsAreBoundedInNumberAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(DefaultWindow, NewMemory(DefaultMemory))
		for i := range 2 * maxFarewells {
			r.Bid(Farewell{Service: "X", Resume: Record{Received: uint64(i)}}, true)
		}
		r.Bid(Farewell{Service: "Y"}, false)
		told := func() (n int, first uint64) {
			r.SayFarewells(func(f *Farewell) bool {
				if n++; n == 1 {
					first = f.Resume.Received
				}
				return true
			})
			return n, first
		}
		if n, first := told(); n != maxFarewells-1 || first != maxFarewells+1 {
			t.Errorf("%d are told, the first is number %d", n, first)
		}
		if n, _ := told(); n != 0 {
			t.Errorf("%d are told twice, and nothing was lost", n)
		}
		if tries, due := r.Doubt("X"); !due || tries != 1 {
			t.Errorf("doubted: %v, after %d tries", due, tries)
		}
		if n, _ := told(); n != maxFarewells-1 {
			t.Errorf("%d are told again after a loss", n)
		}
		time.Sleep(DefaultWindow + time.Second)
		r.Doubt("X")
		if len(r.farewells) != 0 {
			t.Errorf("%d are remembered after the window", len(r.farewells))
		}
	})
}
