// Package wsconn is one websocket to the tunnel service: the dial, the handshake with its tokens,
// keep-alive, a stream of bytes in, messages out, and why it ended.
//
// It does not know what the bytes mean, what a token is good for, or whether to connect again.
//
// The websocket package does the handshake. The frames behind it are read and written here (RFC 6455, section 5),
// without an allocation or a copy that masking does not need.
//
// A Conn has one reader and one writer, each the caller's. The reader's error says why the
// connection ended; the writer may learn no more than that it did.
package wsconn
