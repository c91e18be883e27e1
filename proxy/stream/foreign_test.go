package stream

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// What peers that are no Culvert see is compared, byte for byte, with what they saw before there were records. The files
// of testdata/foreign were recorded then; a stream id of our own choice counts as 1.
func TestForeignPeersSeeTheSameBytes(t *testing.T) {
	for name, script := range map[string][]string{
		"v1":           {"STREAM_START 7", "DATA 7 hello", "DATA 7 more", "STREAM_RESET 7", "STREAM_START 8", "DATA 8 end"},
		"v2":           {"STREAM_START 7 ECHO", "DATA 7 ECHO hello", "STREAM_START 8 ECHO", "DATA 8 ECHO again", "CONNECTION_START 8 ECHO#2"},
		"v3":           {"STREAM_START 7 ECHO#1", "DATA 7 ECHO#1 hello", "CONNECTION_START 7 ECHO#2", "DATA 7 ECHO#2 two", "CONNECTION_RESET 7 ECHO#1", "CONNECTION_START 7 ECHO#2"},
		"v3-unnamed":   {"STREAM_START 7 #1", "DATA 7 #1 hello", "CONNECTION_START 7 #2", "DATA 7 #2 two"},
		"v3-mixed-ids": {"STREAM_START 7 ECHO#1", "DATA 9 ECHO#1 stale", "CONNECTION_START 9 ECHO#2", "DATA 7 ECHO#1 x"},
		"v3-refused":   {"STREAM_START 7 NONE#1", "DATA 7 NONE#1 x", "CONNECTION_START 7 NONE#2"},
	} {
		t.Run("destination/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compareForeign(t, "destination-"+name, destinationSends(t, script)) })
		})
	}
	for name, form := range map[string]Form{"v1": V1, "v2": V2, "v3": V3} {
		t.Run("source/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compareForeign(t, "source-"+name, sourceSends(t, form)) })
		})
	}
}

func destinationSends(t *testing.T, script []string) []byte {
	t.Helper()
	near, far := newPair()
	d := NewDestination(DestinationConfig{
		Config: recordsConfig(near),
		Dial: func(_ context.Context, service string) (net.Conn, error) {
			if service == "NONE" {
				return nil, errors.New("refused")
			}
			target, heard, says := newOneWay()
			go func() {
				b := make([]byte, 100)
				for {
					n, err := heard.Read(b)
					if err != nil || string(b[:n]) == "end" {
						_ = says.Close()
						return
					}
					_, _ = says.Write(b[:n])
				}
			}()
			return target, nil
		},
		DefaultService: func([]string) (string, error) { return "ECHO", nil },
	})
	return foreignTalk(t, far, d.Serve, func() {
		for _, m := range script {
			_, _ = far.Write(frames(m))
			time.Sleep(time.Second)
		}
	})
}

func sourceSends(t *testing.T, form Form) []byte {
	t.Helper()
	near, far := newPair()
	s := NewSource(SourceConfig{Config: recordsConfig(near), Form: form})
	return foreignTalk(t, far, s.Serve, func() {
		for range 2 {
			local, reads, writes := newOneWay()
			go func() { _, _ = reads.Read(make([]byte, 100)) }()
			if err := s.Open("ECHO", local); err != nil {
				continue // V1 and V2 have room for one
			}
			_, _ = writes.Write([]byte("hello"))
			time.Sleep(time.Second)
			s.mu.Lock()
			st := s.streams[map[bool]string{true: "ECHO"}[form.Service]]
			answer := st.message(frame.Data, st.next)
			s.mu.Unlock()
			answer.Payload = []byte("a banner")
			b, err := answer.AppendFrame(nil)
			if err != nil {
				t.Error(err)
			}
			_, _ = far.Write(b)
			time.Sleep(time.Second)
			_, _ = writes.Write([]byte("bye"))
			_ = writes.Close()
			time.Sleep(10 * time.Second)
		}
	})
}

// foreignTalk returns what was sent while talk ran. Each piece of time is a line, so that the order of frames counts.
func foreignTalk(t *testing.T, far *end, serve func() error, talk func()) []byte {
	t.Helper()
	served := make(chan struct{})
	go func() { defer close(served); _ = serve() }()
	talk()
	synctest.Wait()
	sent := far.in.take()
	_ = far.Close(closeNormal, "")
	<-served
	time.Sleep(time.Minute)
	var out []byte
	var in splitter
	if err := in.add(sent, func(m *frame.Message) {
		if m.StreamID > 1000 {
			m.StreamID = 1
		}
		out, _ = m.AppendFrame(out)
	}); err != nil {
		t.Error(err)
	}
	return out
}

func compareForeign(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "foreign", name+".hex")
	if os.Getenv("CULVERT_RECORD_FOREIGN") != "" {
		_ = os.MkdirAll(filepath.Dir(file), 0o755)
		_ = os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o644)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(want)) != hex.EncodeToString(got) {
		t.Errorf("sent %x, before it was %s", got, want)
	}
}

// recordsConfig is a side that speaks records where its peer does.
func recordsConfig(transport Transport) Config {
	return Config{Transport: transport, Resume: registryIf(true)}
}
