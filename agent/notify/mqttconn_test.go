package notify

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

const connackOK = "\x20\x02\x00\x00"

func TestTheFilterLetsAClientsPacketsThroughAndNothingElse(t *testing.T) {
	publish := func(size int) string { return string(publishOf(size)) }
	for _, c := range []struct {
		name  string
		bytes string
		want  string // in the error; "" = none
	}{
		{"nothing", "", ""},
		{"half a CONNACK", "\x20\x02", ""},
		{"a whole session", connackOK + "\x90\x03\x00\x01\x01" + publish(5) + "\xd0\x00" + publish(130) + publish(20_000) + "\xd0\x00", ""},
		{"session present", "\x20\x02\x01\x00\x90\x03\x00\x01\x01", ""},
		{"PUBLISH with DUP, RETAIN and QoS 0", connackOK + "\x39\x03\x00\x01t", ""},
		{"a PUBLISH as long as allowed", connackOK + publish(packetLimit), ""},
		{"a PUBLISH one byte longer", connackOK + publish(packetLimit+1), ""},
		{"a longer PUBLISH and what follows", connackOK + publish(1<<20) + publish(20) + "\xd0\x00", ""},
		{"a length in more digits than needed", "\x20\x82\x80\x00\x00\x00", ""},
		{"a length of five digits", connackOK + "\x30\x80\x80\x80\x80\x01", "more than four bytes"},
		{"SUBACK before CONNACK", "\x90\x03\x00\x01\x01", "first packet"},
		{"PUBLISH before CONNACK", "\x30\x03\x00\x01t", "first packet"},
		{"two CONNACKs", connackOK + connackOK, "second CONNACK"},
		{"an empty CONNACK", "\x20\x00", "type 2 with 0 bytes"},
		{"a CONNACK of MQTT 5", "\x20\x03\x00\x00\x00", "type 2 with 3 bytes"},
		{"a refusal", "\x20\x02\x00\x07", "return code 7"},
		{"a CONNACK of 200 MB", "\x20\xff\xff\xff\x5f", "type 2 with"},
		{"CONNACK with flags", "\x21\x02\x00\x00", "flags 1"},
		{"SUBACK for no filter", connackOK + "\x90\x02\x00\x01", "type 9 with 2 bytes"},
		{"SUBACK for two filters", connackOK + "\x90\x04\x00\x01\x01\x01", "type 9 with 4 bytes"},
		{"PINGRESP with a body", connackOK + "\xd0\x01x", "type 13 with 1 bytes"},
		{"QoS 2", connackOK + "\x34", "QoS 2"},
		{"QoS 3", connackOK + "\x36", "QoS 3"},
		{"PUBACK, though nothing was published", connackOK + "\x40\x02\x00\x01", "type 4"},
		{"PUBREL", connackOK + "\x62\x02\x00\x01", "type 6"},
		{"CONNECT", connackOK + "\x10", "type 1"},
		{"type 0", connackOK + "\x00", "type 0"},
		{"DISCONNECT of MQTT 5", connackOK + "\xe0\x01\x8e", "type 14"},
		{"AUTH of MQTT 5", connackOK + "\xf0", "type 15"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 7, 1 << 20} {
				_, err := filterInPieces([]byte(c.bytes), step)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("in pieces of %d: err = %v, want %q", step, err, c.want)
				}
			}
		})
	}
}

func TestMQTTConnEndsASilentConnectionEvenWithoutPaho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer func() { _ = far.Close() }()
		g := newMQTTConn(near, 90*time.Second)
		defer func() { _ = g.Close() }()
		go func() { _, _ = io.WriteString(far, connackOK) }()
		if _, err := io.ReadFull(g, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := g.Read(make([]byte, 1))
		if d := time.Since(began); d != 90*time.Second || !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "nothing came from the broker for 1m30s") {
			t.Errorf("Read = %v after %v", err, d)
		}
	})
}

// filterInPieces returns what passes.
func filterInPieces(data []byte, step int) ([]byte, error) {
	var f filter
	var out []byte
	for len(data) > 0 {
		n := min(step, len(data))
		var err error
		if out, err = f.pass(out, data[:n]); err != nil {
			return out, err
		}
		data = data[n:]
	}
	return out, nil
}

func TestTheFilterCutsNothingButOversizedMessages(t *testing.T) {
	whole := connackOK + "\x90\x03\x00\x01\x01" + string(publishOf(packetLimit)) + "\xd0\x00"
	for _, step := range []int{1, 3, 1 << 20} {
		if out, err := filterInPieces([]byte(whole), step); err != nil || string(out) != whole {
			t.Errorf("in pieces of %d: %d of %d bytes pass, err = %v", step, len(out), len(whole), err)
		}
		out, err := filterInPieces([]byte(connackOK+string(publishOf(1<<20))+"\xd0\x00"), step)
		if err != nil {
			t.Fatal(err)
		}
		in := bytes.NewReader(out)
		_, _ = packets.ReadPacket(in)
		cut, err := packets.ReadPacket(in)
		p, ok := cut.(*packets.PublishPacket)
		if err != nil || !ok || p.TopicName != "t" || p.MessageID != 7 || len(p.Payload) != packetLimit-5 {
			t.Errorf("in pieces of %d: %T, err = %v", step, cut, err)
		}
		if ping, err := packets.ReadPacket(in); err != nil || ping.String()[:8] != packets.NewControlPacket(packets.Pingresp).String()[:8] {
			t.Errorf("in pieces of %d: %v after it, err = %v", step, ping, err)
		}
	}
}

// publishOf is a PUBLISH of size bytes without its fixed header.
func publishOf(size int) []byte {
	var b bytes.Buffer
	pub := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	pub.TopicName, pub.Payload, pub.Qos, pub.MessageID = "t", bytes.Repeat([]byte("x"), size-5), 1, 7
	_ = pub.Write(&b)
	return b.Bytes()
}

// FuzzFilter also shows what the filter is for: nothing that passes makes paho's decoder panic, allocate
// without bound, or disagree about where a packet ends.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(connackOK), byte(1))
	f.Add([]byte(connackOK+"\x90\x03\x00\x01\x01\x32\x09\x00\x01t\x00\x07hell\xd0\x00"), byte(3))
	f.Add([]byte(connackOK+"\x30\xff\xff\xff\x7f"), byte(0))
	f.Add([]byte(connackOK+"\x30\x04\xff\xff\x00\x00"), byte(2))
	f.Fuzz(func(t *testing.T, data []byte, step byte) {
		out, whole := filterInPieces(data, len(data)+1)
		_, pieces := filterInPieces(data, int(step)+1)
		if (whole == nil) != (pieces == nil) || whole != nil && whole.Error() != pieces.Error() {
			t.Errorf("at once %v, in pieces %v", whole, pieces)
		}
		if whole != nil {
			return
		}
		in := bytes.NewReader(out)
		for {
			if _, err := packets.ReadPacket(in); err != nil {
				return // the end, or a body that paho refuses
			}
		}
	})
}
