// Package trust looks at files as another user of the same machine would: who can read them, change them,
// or put others in their place.
//
// It does not look into them. Its errors carry hints, with the command to run.
package trust
