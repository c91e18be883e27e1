// Package hook runs a command of the device's owner when something happens, with the facts in its
// environment: to switch a light, to write a record, to open a firewall.
//
// It does not know what the events mean. One command runs at a time, in the order of the events, which wait
// in a bounded queue: [Runner.Tell] never blocks.
package hook
