// Package capture collects the output of several goroutines, such as a log, for a test to read.
package capture
