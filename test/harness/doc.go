// Package harness is what the test programs share: it builds and starts programs, waits for what they
// log, measures them, serves targets and makes byte streams in which a wrong byte shows.
//
// It knows no test, no tunnel and no sandbox. No product code imports it.
package harness
