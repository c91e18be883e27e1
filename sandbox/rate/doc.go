// Package rate counts events against a limit a second, as AWS's throttling does.
package rate
