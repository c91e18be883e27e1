// Package stream carries many connections over one tunnel: it tells streams and connections apart, queues
// what arrives, takes turns between those that send, and ends each of them exactly once.
//
// A tunnel has at most one active stream a service, and a V3 stream has any number of connections.
// [Destination] answers what a source starts, [Source] starts it. Both share the multiplexer in mux.go.
//
//	websocket reader -> frame.Reader -> handle -> target, or the connection's inbox -> writer -> target
//	target -> poller -> scheduler -> sender (one message, within the pacer's window) -> websocket
//
// The mux has one lock. Three parts that know no mux are guarded by it:
//
//   - scheduler decides which connection sends next,
//   - pacer keeps what is on its way to the service within the congestion window,
//   - backlog counts the memory of what waits for targets and lets the reader wait for room.
//
// A tunnel has two goroutines: the reader, which is the caller of Serve, and the sender. A connection has
// one, the poller, and a second one, the writer, while its target does not take all at once. The reader
// never dials. It writes to a target only what that takes without waiting. The sender never waits for a
// target.
//
// # A connection's end
//
// The write side of a target belongs to one goroutine at a time, the writer or the reader, between
// takeWrite and giveWrite. Each change of a connection's state and each giveWrite ends with settle, which
// looks at the state again: it alone starts the writer, closes the target and forgets the connection.
//
// Only an orderly end is a FIN for the application. What is known to be broken is a TCP reset, or a call of
// [Breaker]: the transport's end, a session reset, Shutdown, a violation, a target that stalls or fails.
// What was received before is written first. A foreign peer's reset is an orderly end: the protocol has no
// other one.
//
// # Records
//
// Two peers of this package agree to speak records (negotiate.go), which give a connection a half close, flow
// control, and a life beyond the websocket (carried.go; package resume has the byte stream). When its websocket
// is lost, such a connection is detached: it keeps its target and its goroutines, and waits in the
// resume.Registry. A later Source on the same registry attaches it (reattach.go), and the Destination puts it
// in the place that the RESUME came for. All muxes of a registry share its lock, so nothing else changes for a
// connection that moves. A reset that the peer did not announce by a CLOSE detaches, too.
//
// The package does not know websockets, it is given a [Transport]; nor what a service name stands for, it
// is given a dial function; nor retries: when the transport ends, everything that cannot wait has ended.
package stream
