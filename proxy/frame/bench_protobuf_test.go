package frame_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// BenchmarkCodec writes and reads a frame of DATA: with this package, with generated code and the library, and with
// the library where message and buffer are used again. docs/decisions/frames.md has its figures.
func BenchmarkCodec(b *testing.B) {
	const stream, service, connection = 7, "SSH", 3
	for _, size := range []int{frame.MaxPayload, 1024, 32} {
		payload := make([]byte, size)
		run := func(name string, once func(payload []byte) error) {
			b.Run(name+"/"+strconv.Itoa(size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := once(payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		// A sender reads its target straight into the frame's place: no copy is counted for it.
		buf := make([]byte, frame.HeaderRoom+size+frame.TrailerRoom(service, connection))
		var wire bytes.Reader
		in := frame.NewReader(&wire)
		var m frame.Message
		run("own", func([]byte) error {
			wire.Reset(frame.EncloseData(buf, size, stream, service, connection))
			return in.Next(&m)
		})
		message := func(payload []byte) *Message {
			return &Message{Type: Message_DATA, StreamId: stream, Payload: payload, ServiceId: service, ConnectionId: connection}
		}
		run("generated", func(payload []byte) error {
			body, err := proto.Marshal(message(payload))
			if err != nil {
				return err
			}
			frame := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(body)), uint16(len(body))), body...)
			return readGenerated(bytes.NewReader(frame), new(Message), nil)
		})
		out, scratch := make([]byte, 0, 2+frame.MaxMessage), make([]byte, frame.MaxMessage)
		sent, received := message(nil), new(Message)
		run("reused", func(payload []byte) error {
			sent.Payload = payload
			frame, err := proto.MarshalOptions{}.MarshalAppend(out[:2], sent)
			if err != nil {
				return err
			}
			binary.BigEndian.PutUint16(frame, uint16(len(frame)-2))
			wire.Reset(frame)
			return readGenerated(&wire, received, scratch)
		})
	}
}

// readGenerated reads one frame into m, through scratch if that is not nil.
func readGenerated(r io.Reader, m *Message, scratch []byte) error {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if scratch == nil {
		scratch = make([]byte, n)
	}
	if _, err := io.ReadFull(r, scratch[:n]); err != nil {
		return err
	}
	return proto.Unmarshal(scratch[:n], m)
}
