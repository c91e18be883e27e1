// Package version says which build of Culvert is running.
//
// It does not know which programs ask.
package version
