// Command bench measures Culvert beside another proxy for AWS IoT Secure Tunneling and beside plain TLS,
// in turn, all through the sandbox's relay. scripts/bench-peers builds it as bin/peers and runs it.
//
// Client, relay, servers and both proxies of each contender are processes of their own on one machine.
// The program writes figures as JSON lines, shows medians and draws them.
package main
