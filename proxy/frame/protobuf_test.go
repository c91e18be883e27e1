package frame

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// descriptor is the message of the V3 protocol guide, as protoc would describe it.
var descriptor = func() protoreflect.MessageDescriptor {
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: &name, JsonName: &name, Number: &number, Type: &kind,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	kind := field("type", 1, descriptorpb.FieldDescriptorProto_TYPE_ENUM)
	kind.TypeName = new(".tunnel.Message.Type")
	available := field("availableServiceIds", 6, descriptorpb.FieldDescriptorProto_TYPE_STRING)
	available.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	types := &descriptorpb.EnumDescriptorProto{Name: new("Type")}
	for t := Unknown; t == Unknown || t.Known(); t++ {
		types.Value = append(types.Value, &descriptorpb.EnumValueDescriptorProto{Name: new(t.String()), Number: new(int32(t))})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("message.proto"), Package: new("tunnel"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:     new("Message"),
			EnumType: []*descriptorpb.EnumDescriptorProto{types},
			Field: []*descriptorpb.FieldDescriptorProto{
				kind,
				field("streamId", 2, descriptorpb.FieldDescriptorProto_TYPE_INT32),
				field("ignorable", 3, descriptorpb.FieldDescriptorProto_TYPE_BOOL),
				field("payload", 4, descriptorpb.FieldDescriptorProto_TYPE_BYTES),
				field("serviceId", 5, descriptorpb.FieldDescriptorProto_TYPE_STRING),
				available,
				field("connectionId", 7, descriptorpb.FieldDescriptorProto_TYPE_UINT32),
			},
		}},
	}, nil)
	if err != nil {
		panic(err)
	}
	return file.Messages().Get(0)
}()

// theirs decodes b with google.golang.org/protobuf.
func theirs(b []byte) (Message, error) {
	d := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(b, d); err != nil {
		return Message{}, err
	}
	get := func(number protoreflect.FieldNumber) protoreflect.Value {
		return d.Get(descriptor.Fields().ByNumber(number))
	}
	m := Message{
		Type: Type(get(fieldType).Enum()), StreamID: int32(get(fieldStreamID).Int()), Ignorable: get(fieldIgnorable).Bool(),
		Payload: get(fieldPayload).Bytes(), ServiceID: get(fieldServiceID).String(), ConnectionID: uint32(get(fieldConnectionID).Uint()),
	}
	list := get(fieldAvailableServiceIDs).List()
	for i := range list.Len() {
		m.AvailableServiceIDs = append(m.AvailableServiceIDs, list.Get(i).String())
	}
	return m, nil
}

// encodeTheirs encodes m with google.golang.org/protobuf.
func encodeTheirs(m *Message) ([]byte, error) {
	d := dynamicpb.NewMessage(descriptor)
	set := func(number protoreflect.FieldNumber, v any) {
		d.Set(descriptor.Fields().ByNumber(number), protoreflect.ValueOf(v))
	}
	set(fieldType, protoreflect.EnumNumber(m.Type))
	set(fieldStreamID, m.StreamID)
	set(fieldIgnorable, m.Ignorable)
	set(fieldPayload, m.Payload)
	set(fieldServiceID, m.ServiceID)
	set(fieldConnectionID, m.ConnectionID)
	list := d.Mutable(descriptor.Fields().ByNumber(fieldAvailableServiceIDs)).List()
	for _, id := range m.AvailableServiceIDs {
		list.Append(protoreflect.ValueOfString(id))
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(d)
}

// agree compares both decoders on b: they accept the same, and see the same in it. Where they accept,
// both encoders must write the same bytes.
func agree(b []byte) error {
	var ours Message
	err := ours.Unmarshal(b)
	want, wantErr := theirs(b)
	if (err == nil) != (wantErr == nil) {
		return fmt.Errorf("protobuf says %v, this package %v", wantErr, err)
	}
	if wantErr != nil {
		return nil //nolint:nilerr // both refuse it, as they should
	}
	if diff := cmp.Diff(want, ours, alike); diff != "" {
		return fmt.Errorf("decoded (-protobuf +ours):\n%s", diff)
	}
	wantBytes, err := encodeTheirs(&ours)
	if err != nil {
		return fmt.Errorf("protobuf cannot encode it: %w", err)
	}
	if got := ours.Append(nil); !bytes.Equal(wantBytes, got) {
		return fmt.Errorf("encoded:\nprotobuf %x\nours     %x", wantBytes, got)
	}
	return nil
}

func TestProtobufAgreesOnVectors(t *testing.T) {
	for _, v := range vectors(t) {
		if err := agree(v.body); err != nil {
			t.Errorf("%s: %v", v.file, err)
		}
		// Cut anywhere, it is mostly malformed, and at field borders another message.
		for n := range min(len(v.body), 64) {
			if err := agree(v.body[:n]); err != nil {
				t.Errorf("%s, first %d bytes: %v", v.file, n, err)
			}
		}
	}
}

func TestProtobufAgreesOnRandomMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		m := random(r)
		want, err := encodeTheirs(&m)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Append(nil); !bytes.Equal(want, got) {
			t.Fatalf("%s is encoded otherwise", words(&m))
		}
		if err := agree(want); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProtobufAgreesOnDamagedMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	accepted := 0
	const rounds = 20_000
	for range rounds {
		m := Message{Type: Type(r.IntN(9)), StreamID: r.Int32(), ServiceID: "SSH", Payload: []byte("payload"), ConnectionID: r.Uint32(), AvailableServiceIDs: []string{"é"}}
		b := m.Append(nil)
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		if err := agree(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if m.Unmarshal(b) == nil {
			accepted++
		}
	}
	if accepted < rounds/10 || accepted > rounds*9/10 {
		t.Errorf("%d of %d were accepted: this tests one side only", accepted, rounds)
	}
}

// FuzzAgainstProtobuf: google.golang.org/protobuf accepts, decodes and encodes the same.
func FuzzAgainstProtobuf(f *testing.F) {
	seed(f, func(v vector) { f.Add(v.body) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := agree(b); err != nil {
			t.Errorf("%x: %v", b, err)
		}
	})
}
