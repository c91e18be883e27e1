package fleet

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// account lists things as AWS does: pages, then perhaps an error. Without either it does not answer in time.
type account struct {
	pages [][]string
	err   error
	asked int
}

func (a *account) list(ctx context.Context) iter.Seq2[[]string, error] {
	a.asked++
	return func(yield func([]string, error) bool) {
		for _, p := range a.pages {
			if !yield(slices.Clone(p), nil) {
				return
			}
		}
		if a.pages == nil && a.err == nil {
			<-ctx.Done()
			yield(nil, ctx.Err())
		} else if a.err != nil {
			yield(nil, a.err)
		}
	}
}

func TestKnownNames(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // of macOS
	synctest.Test(t, func(t *testing.T) {
		k := NewKnown("key")
		var a account
		step := func(what string, age time.Duration, asks int, took time.Duration, want ...string) {
			t.Helper()
			time.Sleep(age)
			before, asked := time.Now(), a.asked
			got := k.refreshed(t.Context(), a.list)
			if !slices.Equal(got, want) || a.asked-asked != asks || time.Since(before) != took {
				t.Errorf("%s: %q after %v, AWS was asked %d times", what, got, time.Since(before), a.asked-asked)
			}
		}
		a.pages = [][]string{{"pi-2", "a b", "$(reboot)"}, {"pi-1"}}
		step("first", 0, 1, 0, "pi-1", "pi-2")
		step("remembered", knownLife-time.Second, 0, 0, "pi-1", "pi-2")
		a.pages = [][]string{{"pi-3"}}
		step("fetched anew", time.Second, 1, 0, "pi-3")
		a.pages, a.err = nil, nil
		step("AWS does not answer", knownLife, 1, knownWait, "pi-3")
		step("and is not asked again at once", knownRetry-2*time.Second, 0, 0, "pi-3")
		a.pages, a.err = [][]string{{"pi-4"}}, errors.New("throttled")
		step("a part of the list", 2*time.Second, 1, 0, "pi-3", "pi-4")
	})
}
