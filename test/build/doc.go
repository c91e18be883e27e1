// Package build tests what make says before it builds anything.
package build
