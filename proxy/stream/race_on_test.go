//go:build race

package stream

// raced tells that the race detector makes everything several times slower.
const raced = true
