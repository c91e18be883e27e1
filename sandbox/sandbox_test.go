package sandbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 5 * time.Second

func start(t *testing.T, cfg Config) *Sandbox {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// call is one call of the control API, as a client without an SDK makes it.
func call(t *testing.T, s *Sandbox, operation, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "IoTSecuredTunneling."+operation)
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/"+now.Format("20060102")+"/"+s.Region+
		"/IoTSecuredTunneling/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature="+strings.Repeat("0", 64))
	return do(t, r)
}

func do(t *testing.T, r *http.Request) (int, map[string]any) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// connect is a device with a real client library, which puts the payloads of its notifications into the channel.
func connect(t *testing.T, s *Sandbox, thing string) <-chan []byte {
	t.Helper()
	d, err := s.Device(thing)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(d.CertFile, d.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	messages := make(chan []byte, 10)
	c := paho.NewClient(paho.NewClientOptions().AddBroker("ssl://" + s.MQTT).SetClientID(thing + "-tunnel").
		SetTLSConfig(&tls.Config{RootCAs: s.CA.Pool(), Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}).
		SetProtocolVersion(4).SetAutoReconnect(false).SetOrderMatters(false))
	if token := c.Connect(); !token.WaitTimeout(soon) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	token := c.Subscribe("$aws/things/"+thing+"/tunnels/notify", 1, func(_ paho.Client, m paho.Message) { messages <- m.Payload() })
	if !token.WaitTimeout(soon) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	return messages
}

func receive(t *testing.T, messages <-chan []byte) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	select {
	case m := <-messages:
		return m
	case <-ctx.Done():
		t.Fatal("no notification came")
		return nil
	}
}

// tunnel connects to the data endpoint.
func tunnel(t *testing.T, s *Sandbox, mode, token string) *websocket.Conn {
	t.Helper()
	dialer := websocket.Dialer{
		TLSClientConfig: &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12},
		Subprotocols:    []string{"aws.iot.securetunneling-3.0"},
	}
	ws, resp, err := dialer.DialContext(t.Context(), s.RelayURL+"/tunnel?local-proxy-mode="+mode, http.Header{"access-token": {token}})
	if err != nil {
		t.Fatalf("connect as %s: %v", mode, err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// The whole of it, with the zero configuration: open, notification, both sides connect, describe, close.
func TestTheZeroConfigurationWorks(t *testing.T) {
	s := start(t, Config{})
	messages := connect(t, s, "pi-1")
	status, opened := call(t, s, "OpenTunnel", `{"destinationConfig":{"thingName":"pi-1","services":["SSH","HTTP"]}}`)
	if status != http.StatusOK {
		t.Fatalf("open: %d, %v", status, opened)
	}
	var news map[string]any
	if err := json.Unmarshal(receive(t, messages), &news); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"clientAccessToken": opened["destinationAccessToken"], "clientMode": "destination", "region": "eu-west-1", "services": []any{"SSH", "HTTP"},
	}
	if diff := cmp.Diff(want, news); diff != "" {
		t.Errorf("notification (-want +got):\n%s", diff)
	}
	destination := tunnel(t, s, "destination", opened["destinationAccessToken"].(string))
	source := tunnel(t, s, "source", opened["sourceAccessToken"].(string))
	for _, side := range []*websocket.Conn{destination, source} { // its first message shows that the sandbox counts it as connected
		_ = side.SetReadDeadline(time.Now().Add(soon))
		if kind, first, err := side.ReadMessage(); err != nil || kind != websocket.BinaryMessage || len(first) == 0 {
			t.Errorf("first message: type %d, %d bytes, %v", kind, len(first), err)
		}
	}
	id := opened["tunnelId"].(string)
	_, described := call(t, s, "DescribeTunnel", `{"tunnelId":"`+id+`"}`)
	for _, side := range []string{"sourceConnectionState", "destinationConnectionState"} {
		if state := described["tunnel"].(map[string]any)[side].(map[string]any)["status"]; state != "CONNECTED" {
			t.Errorf("%s is %v", side, state)
		}
	}
	if status, out := call(t, s, "CloseTunnel", `{"tunnelId":"`+id+`"}`); status != http.StatusOK {
		t.Errorf("close: %d, %v", status, out)
	}
	_ = destination.SetReadDeadline(time.Now().Add(soon))
	for {
		if _, _, err := destination.ReadMessage(); err != nil {
			if _, closed := errors.AsType[*websocket.CloseError](err); !closed {
				t.Errorf("the tunnel ended by %v, want a close frame", err)
			}
			break
		}
	}
	got := s.Notices()
	if len(got) != 1 || got[0].At.IsZero() {
		t.Fatalf("notices %+v", got)
	}
	got[0].At = time.Time{}
	wantNotice := Notice{
		Thing: "pi-1", Services: []string{"SSH", "HTTP"}, QoS: 1, Token: secret.New(opened["destinationAccessToken"].(string)).ID(),
	}
	wantNotice.Delivery.Sent = 1
	if diff := cmp.Diff([]Notice{wantNotice}, got); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
}

func TestStartAndCloseLeaveNothing(t *testing.T) {
	s := start(t, Config{})
	connect(t, s, "pi-1")
	if _, err := s.Store.Open(tunnels.OpenInput{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory: %v", err)
	}
	for _, address := range []string{s.MQTT, s.MQTTALPN, strings.TrimPrefix(s.APIURL, "http://"), strings.TrimPrefix(s.RelayURL, "wss://"), strings.TrimPrefix(s.AdminURL, "http://")} {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			t.Errorf("%s is still open", address)
		}
	}
}

func TestItEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Config{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Close(); err != nil { // waits for the one that the context began
		t.Error(err)
	}
}

func TestFailedStartsSayWhatToFix(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"API port taken", Config{Ports: Ports{API: taken}}, "control API"},
		{"relay port taken", Config{Ports: Ports{Relay: taken}}, "data endpoint"},
		{"admin port taken", Config{Ports: Ports{Admin: taken}}, "admin endpoint"},
		{"MQTT port taken", Config{Ports: Ports{MQTT: taken}}, "mqtt: listen"},
		{"MQTT port for ALPN taken", Config{Ports: Ports{MQTTALPN: taken}}, "mqtt: listen"},
		{"directory is a file", Config{Dir: file}, "sandbox directory"},
		{"account", Config{Account: "12"}, "12 digits"},
		{"thing", Config{Things: []string{"a/b"}}, "thing name"},
		{"service", Config{Services: map[string]string{"a.b": "22"}}, "service"},
		{"policy", Config{Policy: []byte(`{}`)}, "no statement"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Start(t.Context(), tt.cfg)
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Start: %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestPublishViaAnotherBroker(t *testing.T) {
	type message struct {
		Topic string
		QoS   byte
	}
	var mu sync.Mutex
	var got []message
	fail := error(nil)
	var log bytes.Buffer
	s := start(t, Config{
		MQTTEndpoint: "broker.test:8883", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		PublishVia: func(topic string, payload []byte, qos byte) error {
			mu.Lock()
			defer mu.Unlock()
			if !json.Valid(payload) {
				t.Errorf("payload %q", payload)
			}
			got = append(got, message{topic, qos})
			return fail
		},
	})
	open := func() {
		t.Helper()
		if _, err := s.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}}); err != nil {
			t.Fatal(err)
		}
	}
	open()
	s.SetNotifications(Notifications{QoS0: true})
	fail = errors.New("no link")
	open()
	topic := "$aws/things/pi-1/tunnels/notify"
	if diff := cmp.Diff([]message{{topic, 1}, {topic, 0}}, got); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	if n := s.Notices(); len(n) != 2 || n[0].Error != "" || n[1].Error != "no link" {
		t.Errorf("notices %+v", n)
	}
	if !strings.Contains(log.String(), "no link") {
		t.Errorf("log:\n%s", &log)
	}
	if s.Broker != nil || s.MQTT != "broker.test:8883" || s.MQTTALPN != "" {
		t.Errorf("broker %v, MQTT %q, ALPN %q", s.Broker, s.MQTT, s.MQTTALPN)
	}
	d, err := s.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(d.ConfigFile); err != nil || !strings.Contains(string(text), `"broker.test:8883"`) {
		t.Errorf("%v, configuration:\n%s", err, text)
	}
	for _, path := range []string{"/mqtt/stop", "/mqtt/kick", "/mqtt/policy"} {
		if status, out := post(t, s, path, ""); status != http.StatusConflict {
			t.Errorf("POST %s: %d, %v", path, status, out)
		}
	}
	if status, out := post(t, s, "/faults/clear", ""); status != http.StatusOK {
		t.Errorf("clear: %d, %v", status, out)
	}
}
