// Package stream carries many connections over one tunnel: it tells streams and connections apart,
// queues what arrives, takes turns between those that send, and ends each of them exactly once.
//
// A tunnel has at most one active stream a service, and a V3 stream has any number of connections.
// Destination serves what a source starts, Source starts it; both share the multiplexer in mux.go.
//
//	websocket reader -> frame.Reader -> handle -> connection's inbox -> writer -> target
//	target -> poller -> ready list -> sender (takes turns, builds one message, keeps to the window) -> websocket
//
// The goroutines: one reader (the caller of Serve) and one sender a tunnel, two a connection. The reader
// never dials and never writes to a target; the sender never blocks on a target.
//
// Two peers of this package have a half close, which the protocol lacks; halfclose.go tells how.
//
// It does not know websockets (it is given a Transport), nor what a service name stands for (it is given
// a dial function), nor retries: when the transport ends, everything on it has ended.
package stream
