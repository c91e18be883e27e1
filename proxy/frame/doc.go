// Package frame is the wire format inside a tunnel's websocket: a byte stream of frames, each a length
// and one protobuf message (AWS IoT Secure Tunneling, WebSocket protocol guides V1, V2 and V3).
//
// It turns bytes into messages and messages into bytes, in buffers that the caller owns. It does no I/O
// but reading from the io.Reader it is given, logs nothing, and does not know what a message means.
package frame
