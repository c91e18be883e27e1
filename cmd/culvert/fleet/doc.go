// Package fleet fills a sandbox with devices: some run, as the real agents in this process; some have left; some have
// never connected. So a user can try culvert ls, exec and outages without a device.
//
// It is the one package of the operator's command that links the agent. Nothing but culvert sandbox uses it.
package fleet
