package secret

import (
	"crypto/rand"
	"fmt"
)

// NewClientToken returns a random UUID of version 4, the form of client token that AWS advises (V3 protocol
// guide). Each client access token needs its own: the service refuses a client token that was used
// with another one.
func NewClientToken() Value { return New(NewUUID()) }

// NewUUID returns a random UUID of version 4. It is no secret by itself.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
