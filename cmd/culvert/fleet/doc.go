// Package fleet fills a sandbox with devices: some run, and are the real agents in this process; some have left; some
// have never been there. So culvert ls, exec and outages can be tried without a device.
//
// It is the one package of the operator's command that links the agent. Nothing but culvert sandbox uses it.
package fleet
