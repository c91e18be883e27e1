// Package sorting sorts slices as slices.SortFunc does, by one algorithm for all types: slices.SortFunc is compiled anew for
// each, which costs a device some 12 KB a type.
package sorting

import "sort"

// Func sorts list in place, and keeps the order of elements that compare as equal. compare returns a number below zero
// when a comes before b.
func Func[T any](list []T, compare func(a, b T) int) { sort.Stable(by[T]{list, compare}) }

type by[T any] struct {
	list    []T
	compare func(a, b T) int
}

func (s by[T]) Len() int           { return len(s.list) }
func (s by[T]) Less(i, j int) bool { return s.compare(s.list[i], s.list[j]) < 0 }
func (s by[T]) Swap(i, j int)      { s.list[i], s.list[j] = s.list[j], s.list[i] }
