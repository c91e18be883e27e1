package resume

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type says what a record is for.
type Type byte

// The record types. A receiver skips unknown types with Skippable set; others end the connection.
const (
	Hello     Type = 1  // destination: speaks records; Version, Capabilities, ID, At, Limit
	Open      Type = 2  // source: a new connection; ID, At, Limit
	Resume    Type = 3  // source: attach; ID, Received, Sum, Limit
	Attached  Type = 4  // destination: the answer to both; Received, Sum, Limit, At
	Gone      Type = 5  // destination: there is no such connection; Reason
	Bytes     Type = 6  // application bytes
	BytesFull Type = 7  // the same, and the sender has used up its credit
	Credit    Type = 8  // Received, Limit
	End       Type = 9  // end of input; Total, Sum
	Close     Type = 10 // the connection is over; Reason
	Ping      Type = 11 // asks for a Credit at once
	Unopened  Type = 12 // destination: OPEN was for another process or too old, and opened nothing; At

	Skippable Type = 0x80
)

// Version is the version of the records in HELLO.
const Version = 1

// Keeps is the capability of a destination that keeps connections whose transport is lost.
const Keeps = 1

// MaxOverhead is the longest record other than Bytes, in bytes.
const MaxOverhead = 1 + len(helloMagic) + idSize + instanceSize + 4*binary.MaxVarintLen64

const (
	idSize       = 16
	instanceSize = 8
	sumSize      = 4
	// maxOffset bounds offsets, so that sums of them do not overflow.
	maxOffset = 1 << 62
	// helloMagic keeps a target's first bytes from being taken for a HELLO.
	helloMagic = "culvert"
)

// ID names a connection. It is random, so that only the two ends and what lies between them know it.
type ID [idSize]byte

// Instance names a process that accepts connections. It is random, and goes with the connections where another
// process takes them over.
type Instance [instanceSize]byte

// Address is what a source knows of a destination's process: its name, and how many connections it had accepted.
type Address struct {
	Instance Instance
	Accepted uint64
}

// Record is one record. Which fields count depends on the type.
type Record struct {
	Type         Type
	Version      uint64
	Capabilities uint64
	ID           ID
	Received     uint64 // bytes that the sender has received, plus 1 once it has received the end
	Limit        uint64 // the offset up to which the receiver of this record may send
	Total        uint64 // length of the sender's direction
	Sum          uint32 // CRC32C of a direction's bytes so far
	Reason       Reason
	At           Address
	Data         []byte // of Bytes; aliases the input
}

// ErrMalformed is wrapped by errors of Parse.
var ErrMalformed = errors.New("malformed record")

// Append adds the encoded record to dst.
func (r *Record) Append(dst []byte) []byte {
	dst = append(dst, byte(r.Type))
	switch r.Type {
	case Hello:
		dst = append(dst, helloMagic...)
		dst = binary.AppendUvarint(dst, r.Version)
		dst = binary.AppendUvarint(dst, r.Capabilities)
		dst = r.At.append(append(dst, r.ID[:]...))
		return binary.AppendUvarint(dst, r.Limit)
	case Open:
		dst = r.At.append(append(dst, r.ID[:]...))
		return binary.AppendUvarint(dst, r.Limit)
	case Resume:
		return r.appendPosition(append(dst, r.ID[:]...))
	case Attached:
		return r.At.append(r.appendPosition(dst))
	case Unopened:
		return r.At.append(dst)
	case Gone, Close:
		return append(dst, byte(r.Reason))
	case Credit:
		return binary.AppendUvarint(binary.AppendUvarint(dst, r.Received), r.Limit)
	case End:
		return binary.BigEndian.AppendUint32(binary.AppendUvarint(dst, r.Total), r.Sum)
	case Bytes, BytesFull:
	default: // Ping, and types to skip
	}
	return append(dst, r.Data...)
}

func (r *Record) appendPosition(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, r.Received)
	dst = binary.BigEndian.AppendUint32(dst, r.Sum)
	return binary.AppendUvarint(dst, r.Limit)
}

func (a *Address) append(dst []byte) []byte {
	return binary.AppendUvarint(append(dst, a.Instance[:]...), a.Accepted)
}

// Parse decodes one record. An unknown type that may be skipped is no error. Data aliases b.
func (r *Record) Parse(b []byte) error {
	*r = Record{}
	if len(b) == 0 {
		return fmt.Errorf("%w: empty", ErrMalformed)
	}
	r.Type = Type(b[0])
	p := parser{b: b[1:], ok: true}
	switch r.Type {
	case Hello:
		p.literal(helloMagic)
		r.Version, r.Capabilities = p.number(), p.number()
		p.id(&r.ID)
		p.address(&r.At)
		r.Limit = p.number()
	case Open:
		p.id(&r.ID)
		p.address(&r.At)
		r.Limit = p.number()
	case Resume:
		p.id(&r.ID)
		r.Received, r.Sum, r.Limit = p.number(), p.sum(), p.number()
	case Attached:
		r.Received, r.Sum, r.Limit = p.number(), p.sum(), p.number()
		p.address(&r.At)
	case Unopened:
		p.address(&r.At)
	case Gone, Close:
		r.Reason = Reason(p.byte())
	case Credit:
		r.Received, r.Limit = p.number(), p.number()
	case End:
		r.Total, r.Sum = p.number(), p.sum()
	case Bytes, BytesFull:
		r.Data, p.ok, p.b = p.b, len(p.b) > 0, nil
	case Ping:
	default:
		if r.Type&Skippable == 0 {
			return fmt.Errorf("%w: unknown type %d", ErrMalformed, b[0])
		}
		r.Data, p.b = p.b, nil
	}
	if !p.ok || len(p.b) > 0 {
		return fmt.Errorf("%w of type %d", ErrMalformed, b[0])
	}
	return nil
}

// parser takes fields off b. After the first that is not there ok is false.
type parser struct {
	b  []byte
	ok bool
}

func (p *parser) take(n int) []byte {
	if len(p.b) < n {
		p.ok, p.b = false, nil
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

// number reads a varint of at most maxOffset in its shortest form.
func (p *parser) number() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || v > maxOffset || n > 1 && p.b[n-1] == 0 {
		p.ok, p.b = false, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) byte() byte {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (p *parser) sum() uint32 {
	if v := p.take(sumSize); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (p *parser) id(id *ID) { copy(id[:], p.take(idSize)) }

func (p *parser) address(a *Address) {
	copy(a.Instance[:], p.take(instanceSize))
	a.Accepted = p.number()
}

func (p *parser) literal(s string) {
	if v := p.take(len(s)); v != nil && string(v) != s {
		p.ok = false
	}
}
