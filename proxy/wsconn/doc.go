// Package wsconn is one websocket to the tunnel service: dial, handshake with tokens, keep-alive, a
// stream of bytes in, messages out, and the reason for the end.
//
// It does not know what the bytes mean, what a token opens, or whether to connect again.
//
// gorilla/websocket does the handshake. This package reads and writes the frames after it (RFC 6455,
// section 5), without allocations and without copies other than masking.
//
// A [Conn] has one reader and one writer, both the caller's. The reader's error says why the
// connection ended; the writer may learn only that it ended.
package wsconn
