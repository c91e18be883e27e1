package proxy

import "github.com/culvert-iot/culvert/proxy/stream"

// ErrEnded is returned by Open when the websocket has ended.
var ErrEnded = stream.ErrEnded

// ErrFull is returned by Open when the tunnel has as many connections as it may have, those that are ending
// included: there may be room a moment later.
var ErrFull = stream.ErrFull
