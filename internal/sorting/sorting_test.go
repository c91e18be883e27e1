package sorting

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestFuncSortsAsPackageSlicesDoes(t *testing.T) {
	type item struct{ key, at int }
	for n := range 200 {
		list := make([]item, n)
		for i := range list {
			list[i] = item{rand.IntN(n/2 + 1), i}
		}
		want := slices.Clone(list)
		compare := func(a, b item) int { return cmp.Compare(a.key, b.key) }
		slices.SortStableFunc(want, compare)
		if Func(list, compare); !slices.Equal(list, want) {
			t.Fatalf("%v, want %v", list, want)
		}
	}
}
