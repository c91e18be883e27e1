// Package fleet selects things of an account and asks for the state of their agents, page by page, so that memory
// stays bounded however many things there are.
//
// It does not know tunnels, and it prints nothing.
package fleet
