package fleet

import (
	"context"
	"sync"
)

// Each calls do for each name, for at most parallel of them at once, and returns when all calls have. When ctx has
// ended no call begins any more.
func Each(ctx context.Context, parallel int, names []string, do func(i int, name string)) {
	var workers sync.WaitGroup
	next := make(chan int)
	for range min(parallel, len(names)) {
		workers.Go(func() {
			for i := range next {
				do(i, names[i])
			}
		})
	}
	for i := 0; i < len(names) && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
}
