package frame

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// HeaderRoom is how many bytes EncloseData needs before a payload, at most: the length prefix, the type
// (2), a negative stream id (11) and the payload's tag and length (4).
const HeaderRoom = LengthSize + 2 + 11 + 4

// TrailerRoom is how many bytes EncloseData needs behind a payload for this service and connection.
func TrailerRoom(serviceID string, connectionID uint32) int {
	m := Message{ServiceID: serviceID, ConnectionID: connectionID}
	n := 0
	if serviceID != "" {
		n = 1 + protowire.SizeBytes(len(serviceID))
	}
	if m.ConnectionID != 0 {
		n += 1 + protowire.SizeVarint(uint64(m.ConnectionID))
	}
	return n
}

// EncloseData makes a DATA frame of the n bytes at buf[HeaderRoom:HeaderRoom+n] without moving them: it
// writes the frame's head right before them and its tail right behind them, and returns the frame, a
// slice of buf. The caller read the payload straight from its socket to that place. buf must have
// TrailerRoom bytes behind the payload, and n be from 1 to MaxPayload.
func EncloseData(buf []byte, n int, streamID int32, serviceID string, connectionID uint32) []byte {
	m := Message{Type: Data, StreamID: streamID, ServiceID: serviceID, ConnectionID: connectionID}
	var scratch [HeaderRoom]byte
	head := m.appendBeforePayload(scratch[:LengthSize])
	head = protowire.AppendTag(head, fieldPayload, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(n)) //nolint:gosec // from 1 to MaxPayload
	start := HeaderRoom - len(head)
	whole := m.appendAfterPayload(buf[start : HeaderRoom+n])
	binary.BigEndian.PutUint16(head, uint16(len(whole)-LengthSize)) //nolint:gosec // MaxPayload and a service id fit
	copy(whole, head)
	return whole
}
