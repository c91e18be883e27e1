// Package backoff spaces attempts to reach a service: full jitter under a bound that doubles.
//
// It knows nothing of what is attempted. The rule is "full jitter" from Marc Brooker, "Exponential
// Backoff And Jitter" (AWS Architecture Blog, 2015): it spreads a fleet that lost its link at one
// moment better than any fixed or half-jittered delay.
package backoff
