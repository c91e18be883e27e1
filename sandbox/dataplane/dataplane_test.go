package dataplane

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 5 * time.Second

const policy = `{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["iot:Connect", "iot:Subscribe"], "Resource": "*"},
  {"Effect": "Allow", "Action": "iot:Receive", "Resource": "arn:aws:iot:eu-west-1:123456789012:topic/culvert/*"},
  {"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish"], "Resource": "arn:aws:iot:eu-west-1:123456789012:topic/culvert/*"}
]}`

// bench is a broker with the API at its address.
type bench struct {
	t      *testing.T
	api    *API
	broker *broker.Broker
	ca     *pki.Authority
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ca, err := pki.New("test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	p, err := broker.ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, ca: ca}
	b.api = New(Config{Broker: func() *broker.Broker { return b.broker }, Region: "eu-west-1"})
	b.broker, err = broker.Start(broker.Config{Certificate: cert, ClientCAs: ca.Pool(), Policy: p, HTTP: b.api})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.broker.Close() })
	return b
}

// device connects a real client of thing pi-1.
func (b *bench) device(id string, change func(*paho.ClientOptions)) paho.Client {
	b.t.Helper()
	d, err := b.ca.Device("pi-1")
	if err != nil {
		b.t.Fatal(err)
	}
	cert, err := d.TLS()
	if err != nil {
		b.t.Fatal(err)
	}
	o := paho.NewClientOptions().AddBroker("ssl://" + b.broker.Addr()).SetClientID(id).SetAutoReconnect(false).SetCleanSession(true)
	o.SetTLSConfig(b.tls(cert))
	if change != nil {
		change(o)
	}
	c := paho.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(soon) || token.Error() != nil {
		b.t.Fatalf("connect %s: %v", id, token.Error())
	}
	b.t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func (b *bench) tls(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: b.ca.Pool(), Certificates: certificates, MinVersion: tls.VersionTLS12}
}

// call makes a signed call over TLS at the broker's address.
func (b *bench) call(method, path, body string, change func(*http.Request)) (int, map[string]any) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.broker.Addr()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20261129/eu-west-1/iotdevicegateway/aws4_request, SignedHeaders=host;x-amz-date, Signature=0")
	if change != nil {
		change(r)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: b.tls(), DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	resp, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		b.t.Fatal(err)
	}
	if kind := resp.Header.Get("X-Amzn-Errortype"); kind != "" {
		out["errortype"] = kind
	}
	return resp.StatusCode, out
}

func (b *bench) want(method, path, body string, status int, errortype any) map[string]any {
	b.t.Helper()
	got, out := b.call(method, path, body, nil)
	if got != status || out["errortype"] != errortype {
		b.t.Errorf("%s %s: %d %v, want %d %v", method, path, got, out, status, errortype)
	}
	return out
}

// ended waits until the broker has seen a client's end, and returns its reason.
func (b *bench) ended(id string) any {
	b.t.Helper()
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); {
		if _, out := b.call("GET", "/connections/"+id, "", nil); out["connected"] == false {
			if ms, _ := out["disconnectedSince"].(float64); time.Since(time.UnixMilli(int64(ms))) > time.Minute {
				b.t.Errorf("disconnectedSince %v", out["disconnectedSince"])
			}
			return out["disconnectReason"]
		}
	}
	b.t.Fatalf("%s did not end", id)
	return nil
}

func TestGetConnectionFollowsAClient(t *testing.T) {
	b := newBench(t)
	b.want("GET", "/connections/pi-1-tunnel", "", 404, "ResourceNotFoundException")
	first := b.device("pi-1-tunnel", func(o *paho.ClientOptions) { o.SetCleanSession(false).SetKeepAlive(40 * time.Second) })
	out := b.want("GET", "/connections/pi-1-tunnel?includeSocketInformation=true", "", 200, nil)
	for name, want := range map[string]any{
		"connected": true, "clientId": "pi-1-tunnel", "thingName": "pi-1", "cleanSession": false, "keepAliveDuration": 40.0, "sessionExpiry": 3600.0,
		"disconnectReason": nil, "disconnectedSince": nil, "sourceIp": "127.0.0.1", "targetIp": "127.0.0.1",
	} {
		if out[name] != want {
			t.Errorf("%s is %v, want %v", name, out[name], want)
		}
	}
	if ms, _ := out["connectedSince"].(float64); time.Since(time.UnixMilli(int64(ms))) > time.Minute {
		t.Errorf("connectedSince %v", out["connectedSince"])
	}
	if got := fmt.Sprintf("127.0.0.1:%v", out["targetPort"]); got != b.broker.Addr() || out["sourcePort"] == 0.0 {
		t.Errorf("target %s, source port %v", got, out["sourcePort"])
	}
	if out := b.want("GET", "/connections/pi-1-tunnel", "", 200, nil); out["sourceIp"] != nil {
		t.Errorf("addresses were not asked for: %v", out)
	}
	first.Disconnect(100)
	if reason := b.ended("pi-1-tunnel"); reason != broker.ReasonClient {
		t.Errorf("a DISCONNECT is %v", reason)
	}
}

func TestDisconnectReasons(t *testing.T) {
	b := newBench(t)
	b.device("kicked", nil)
	b.broker.Kick("kicked")
	if reason := b.ended("kicked"); reason != broker.ReasonServer {
		t.Errorf("a kick is %v", reason)
	}
	publisher := b.device("denied", nil)
	publisher.Publish("anywhere", 1, false, "x")
	if reason := b.ended("denied"); reason != broker.ReasonAuth {
		t.Errorf("a denied PUBLISH is %v", reason)
	}
	b.device("deleted", nil)
	b.want("DELETE", "/connections/deleted", "", 200, nil)
	if reason := b.ended("deleted"); reason != broker.ReasonAPI {
		t.Errorf("DeleteConnection is %v", reason)
	}
	b.want("DELETE", "/connections/deleted", "", 404, "ResourceNotFoundException")

	replaced := make(chan struct{})
	b.device("twice", func(o *paho.ClientOptions) {
		o.SetConnectionLostHandler(func(paho.Client, error) { close(replaced) })
	})
	b.device("twice", nil)
	<-replaced
	if out := b.want("GET", "/connections/twice", "", 200, nil); out["connected"] != true {
		t.Errorf("the newer connection of a client id: %v", out)
	}
}

func TestDeleteConnectionCanEndTheSession(t *testing.T) {
	for _, clean := range []bool{false, true} {
		b := newBench(t)
		c := b.device("pi-1", func(o *paho.ClientOptions) { o.SetCleanSession(false) })
		if token := c.Subscribe("culvert/a", 1, nil); !token.WaitTimeout(soon) || token.Error() != nil {
			t.Fatal(token.Error())
		}
		b.want("DELETE", fmt.Sprintf("/connections/pi-1?cleanSession=%v", clean), "", 200, nil)
		status := map[bool]int{false: 200, true: 404}[clean]
		if got, out := b.call("GET", "/connections/pi-1/subscriptions", "", nil); got != status {
			t.Errorf("cleanSession=%v: subscriptions %d %v", clean, got, out)
		}
	}
}

func TestListSubscriptionsInPages(t *testing.T) {
	b := newBench(t)
	b.want("GET", "/connections/pi-1/subscriptions", "", 404, "ResourceNotFoundException")
	c := b.device("pi-1", nil)
	for i := range 5 {
		if token := c.Subscribe(fmt.Sprintf("culvert/%d", i), byte(i%2), nil); !token.WaitTimeout(soon) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	var filters []string
	path := "/connections/pi-1/subscriptions?maxResults=2"
	for range 4 {
		out := b.want("GET", path, "", 200, nil)
		list, _ := out["subscriptions"].([]any)
		for _, s := range list {
			m, _ := s.(map[string]any)
			filters = append(filters, fmt.Sprint(m["topicFilter"], " ", m["qos"]))
		}
		if out["nextToken"] == nil {
			break
		}
		path = fmt.Sprint("/connections/pi-1/subscriptions?maxResults=2&nextToken=", out["nextToken"])
	}
	if got := strings.Join(filters, ", "); got != "culvert/0 0, culvert/1 1, culvert/2 0, culvert/3 1, culvert/4 0" {
		t.Errorf("pages hold %s", got)
	}
	b.want("GET", "/connections/pi-1/subscriptions?maxResults=201", "", 400, "InvalidRequestException")
}

func TestDirectMessage(t *testing.T) {
	b := newBench(t)
	got := make(chan paho.Message, 10)
	b.device("pi-1", func(o *paho.ClientOptions) {
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { got <- m })
	})
	// A client that takes messages and never acknowledges.
	b.device("pi-1-mute", func(o *paho.ClientOptions) {
		o.SetAutoAckDisabled(true).SetDefaultPublishHandler(func(paho.Client, paho.Message) {})
	})
	gone := b.device("pi-1-gone", func(o *paho.ClientOptions) { o.SetCleanSession(false) })
	gone.Disconnect(0)
	b.ended("pi-1-gone")

	for _, qos := range []byte{1, 0} {
		b.want("POST", fmt.Sprintf("/connections/pi-1/messages?topic=culvert/ping&confirmation=%v", qos == 1), "hello", 200, nil)
		select {
		case m := <-got:
			if m.Topic() != "culvert/ping" || !bytes.Equal(m.Payload(), []byte("hello")) || m.Qos() != qos {
				t.Errorf("received %s %q at QoS %d", m.Topic(), m.Payload(), m.Qos())
			}
		case <-time.After(soon):
			t.Fatal("the message does not arrive")
		}
	}
	b.want("POST", "/connections/pi-1-mute/messages?topic=culvert/ping&confirmation=true&timeout=1", "x", 504, "GatewayTimeoutException")
	b.want("POST", "/connections/pi-1-mute/messages?topic=culvert/ping&confirmation=false", "x", 200, nil)
	b.want("POST", "/connections/pi-1-gone/messages?topic=culvert/ping&confirmation=true", "x", 404, "ResourceNotFoundException")
	b.want("POST", "/connections/pi-1/messages?topic=elsewhere&confirmation=true&timeout=1", "x", 504, "GatewayTimeoutException") // no iot:Receive
	b.want("POST", "/connections/pi-1/messages?topic=elsewhere&confirmation=false", "x", 200, nil)
	b.want("POST", "/connections/pi-1/messages?topic=a/%2B&confirmation=true", "x", 400, "InvalidRequestException")
	b.want("POST", "/connections/pi-1/messages?confirmation=true", "x", 400, "InvalidRequestException")
	b.want("POST", "/connections/pi-1/messages?topic=culvert/big", strings.Repeat("x", 128<<10+1), 413, "RequestEntityTooLargeException")
	select {
	case m := <-got:
		t.Errorf("received %s", m.Topic())
	default:
	}

	b.broker.SetBehaviour(broker.Behaviour{DirectByThingName: true})
	b.want("POST", "/connections/pi-1/messages?topic=culvert/ping&confirmation=true", "x", 200, nil)
	b.device("pi-1-tunnel", func(o *paho.ClientOptions) { // paho acknowledges what a handler takes only
		o.SetDefaultPublishHandler(func(paho.Client, paho.Message) {})
	})
	b.want("POST", "/connections/pi-1-tunnel/messages?topic=culvert/ping&confirmation=true&timeout=1", "x", 504, "GatewayTimeoutException")
	b.broker.SetBehaviour(broker.Behaviour{})
	b.want("POST", "/connections/pi-1-tunnel/messages?topic=culvert/ping&confirmation=true", "x", 200, nil)
}

func TestRetainedMessages(t *testing.T) {
	b := newBench(t)
	const path = "/retainedMessage/culvert%2Fpi-1%2Fpong"
	b.want("GET", path, "", 404, "ResourceNotFoundException")
	c := b.device("pi-1", nil)
	publish := func(retained bool, payload string) {
		t.Helper()
		if token := c.Publish("culvert/pi-1/pong", 1, retained, payload); !token.WaitTimeout(soon) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	publish(false, "passing")
	b.want("GET", path, "", 404, "ResourceNotFoundException")
	publish(true, "old")
	publish(true, "hello")
	publish(false, "passing")
	out := b.want("GET", path, "", 200, nil)
	if out["topic"] != "culvert/pi-1/pong" || out["payload"] != "aGVsbG8=" || out["qos"] != 1.0 {
		t.Errorf("retained message: %v", out)
	}
	if ms, _ := out["lastModifiedTime"].(float64); time.Since(time.UnixMilli(int64(ms))).Abs() > time.Minute {
		t.Errorf("lastModifiedTime %v", out["lastModifiedTime"])
	}
	b.api.SetBehaviour(Behaviour{Denied: []string{"GetRetainedMessage"}})
	b.want("GET", path, "", 403, "ForbiddenException")
	b.api.SetBehaviour(Behaviour{})
	publish(true, "")
	b.want("GET", path, "", 404, "ResourceNotFoundException")
}

func TestRefusals(t *testing.T) {
	b := newBench(t)
	b.device("a/b", nil)
	b.want("GET", "/connections/a%2Fb", "", 200, nil)
	b.want("GET", "/connections/$a", "", 400, "InvalidRequestException")
	b.want("GET", "/connections/"+strings.Repeat("x", 129), "", 400, "InvalidRequestException")
	b.want("PUT", "/connections/x", "", 404, "ResourceNotFoundException")
	if status, out := b.call("GET", "/connections/a%2Fb", "", func(r *http.Request) { r.Header.Del("Authorization") }); status != 403 || out["errortype"] != "MissingAuthenticationTokenException" {
		t.Errorf("without a signature: %d %v", status, out)
	}
	if status, out := b.call("GET", "/connections/a%2Fb", "", func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), SigningName, "iotdata", 1))
	}); status != 403 || out["errortype"] != "InvalidSignatureException" {
		t.Errorf("signed for another service: %d %v", status, out)
	}

	b.api.SetBehaviour(Behaviour{UnknownIsDisconnected: true})
	if out := b.want("GET", "/connections/never", "", 200, nil); out["connected"] != false || out["disconnectReason"] != nil {
		t.Errorf("an unknown client: %v", out)
	}
	b.api.SetBehaviour(Behaviour{Denied: []string{SocketInformation, "DeleteConnection"}})
	b.want("GET", "/connections/a%2Fb?includeSocketInformation=true", "", 403, "ForbiddenException")
	b.want("GET", "/connections/a%2Fb", "", 200, nil)
	b.want("DELETE", "/connections/a%2Fb", "", 403, "ForbiddenException")
	b.api.SetBehaviour(Behaviour{Throttled: true})
	b.want("GET", "/connections/a%2Fb", "", 429, "ThrottlingException")
	if err := (Behaviour{Denied: []string{"GetConection"}}).Validate(); err == nil || !strings.Contains(err.Error(), "GetConnection") {
		t.Errorf("a mistyped operation: %v", err)
	}
}
