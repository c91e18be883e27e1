package sandbox

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func post(t *testing.T, s *Sandbox, path, body string) (int, map[string]any) {
	t.Helper()
	return admin(t, s, http.MethodPost, path, body, nil)
}

func admin(t *testing.T, s *Sandbox, method, path, body string, change func(*http.Request)) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.AdminURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	return do(t, r)
}

// done posts what must succeed.
func (s *Sandbox) done(t *testing.T, path, body string) map[string]any {
	t.Helper()
	status, out := post(t, s, path, body)
	if status != http.StatusOK {
		t.Fatalf("POST %s %s: %d, %v", path, body, status, out)
	}
	return out
}

func TestAdminListsWhatItCanDo(t *testing.T) {
	s := start(t, Config{})
	_, out := admin(t, s, http.MethodGet, "/", "", nil)
	var calls []string
	for _, a := range out["actions"].([]any) {
		a := a.(map[string]any)
		if a["does"] == "" {
			t.Errorf("%v does nothing", a["call"])
		}
		calls = append(calls, a["call"].(string))
	}
	want := []string{
		"GET /behaviour", "GET /state", "POST /behaviour", "POST /caller", "POST /faults/api", "POST /faults/clear", "POST /faults/notifications",
		"POST /faults/relay", "POST /mqtt/freeze", "POST /mqtt/kick", "POST /mqtt/policy", "POST /mqtt/publish", "POST /mqtt/start",
		"POST /mqtt/stop", "POST /mqtt/thaw", "POST /things",
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(calls))); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	// Each example is one.
	for _, a := range out["actions"].([]any) {
		a := a.(map[string]any)
		body, _ := a["body"].(string)
		method, path, _ := strings.Cut(a["call"].(string), " ")
		if status, out := admin(t, s, method, path, body, nil); status != http.StatusOK {
			t.Errorf("%s with its example %s: %d, %v", a["call"], body, status, out)
		}
	}
}

func TestAdminRefusals(t *testing.T) {
	s := start(t, Config{})
	tests := []struct {
		name, method, path, body string
		change                   func(*http.Request)
		status                   int
		want                     string
	}{
		{"a page in a browser", "POST", "/mqtt/stop", "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") }, 403, "browser"},
		{"a name that was made to mean 127.0.0.1", "GET", "/state", "", func(r *http.Request) { r.Host = "evil.test" }, 403, "browser"},
		{"no such path", "POST", "/mqtt/explode", "", nil, 404, "GET / lists"},
		{"GET for POST", "GET", "/mqtt/stop", "", nil, 404, "makes a POST"},
		{"no JSON", "POST", "/mqtt/kick", "x", nil, 400, "invalid"},
		{"an unknown member", "POST", "/mqtt/kick", `{"clientid":"a"}`, nil, 400, "clientid"},
		{"an unknown relay fault", "POST", "/faults/relay", `{"do":"explode"}`, nil, 400, "explode"},
		{"no relay fault", "POST", "/faults/relay", ``, nil, 400, "fault"},
		{"an unknown operation", "POST", "/faults/api", `{"operation":"Open"}`, nil, 400, "operation"},
		{"an API delay that is none", "POST", "/faults/api", `{"delay":"soon"}`, nil, 400, "delay"},
		{"a policy that is none", "POST", "/mqtt/policy", `{"Statement":[]}`, nil, 400, "no statement"},
		{"publish without a receiver", "POST", "/mqtt/publish", `{"payload":"x"}`, nil, 400, "thing"},
		{"publish at QoS 2", "POST", "/mqtt/publish", `{"thing":"pi-1","qos":2}`, nil, 400, "QoS"},
		{"a behaviour that is none", "POST", "/behaviour", `{"Tunnels":{"Nice":true}}`, nil, 400, "Nice"},
		{"a negative delay", "POST", "/behaviour", `{"Notifications":{"Delay":"-1s"}}`, nil, 400, "negative"},
		{"a delay that is none", "POST", "/behaviour", `{"Notifications":{"Delay":"1"}}`, nil, 400, "missing unit"},
		{"a caller with unknown members", "POST", "/caller", `{"Name":"x"}`, nil, 400, "Name"},
		{"a late answer of another API", "POST", "/faults/api", `{"operation":"DescribeThing","delay":"1s"}`, nil, 400, "late"},
		{"a thing that is none", "POST", "/things", `{"thing":"a b"}`, nil, 400, "thing name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, out := admin(t, s, tt.method, tt.path, tt.body, tt.change)
			if message, _ := out["error"].(string); status != tt.status || !strings.Contains(message, tt.want) {
				t.Errorf("%d, %v; want %d with %q", status, out, tt.status, tt.want)
			}
		})
	}
}

func TestAdminActs(t *testing.T) {
	s := start(t, Config{})
	messages := connect(t, s, "pi-1")

	if diff := cmp.Diff(map[string]any{"sent": 1.0, "stored": 0.0}, s.done(t, "/mqtt/publish", `{"thing":"pi-1","payload":"no JSON","qos":1}`)); diff != "" {
		t.Errorf("publish (-want +got):\n%s", diff)
	}
	if got := receive(t, messages); string(got) != "no JSON" {
		t.Errorf("received %q", got)
	}

	s.done(t, "/faults/api", `{"operation":"ListTunnels","type":"AccessDeniedException","status":403}`)
	if status, out := call(t, s, "ListTunnels", `{}`); status != 403 || out["__type"] != "AccessDeniedException" {
		t.Errorf("ListTunnels: %d, %v", status, out)
	}
	s.done(t, "/faults/api", ``)
	if _, out := call(t, s, "ListTunnels", `{}`); out["__type"] != "ThrottlingException" {
		t.Errorf("ListTunnels: %v", out)
	}

	s.done(t, "/faults/api", `{"operation":"DescribeThing","type":"UnauthorizedException","status":403,"count":2}`)
	describe := func() int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL+"/things/pi-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/iot/aws4_request")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := describe(); status != 403 {
		t.Errorf("DescribeThing: %d", status)
	}
	s.done(t, "/faults/clear", "")
	if status := describe(); status != 200 {
		t.Errorf("DescribeThing after clear: %d", status)
	}
	s.done(t, "/caller", `{"Denied":["iot:OpenTunnel"]}`)

	s.done(t, "/faults/notifications", `{"lose":1}`)
	open := func() map[string]any {
		t.Helper()
		_, out := call(t, s, "OpenTunnel", `{"destinationConfig":{"thingName":"pi-1","services":["SSH"]}}`)
		return out
	}
	lost := open()
	kept := open()
	if got := string(receive(t, messages)); !strings.Contains(got, kept["destinationAccessToken"].(string)) {
		t.Error("the lost notification came")
	}
	if n := s.Notices(); len(n) != 2 || !n[0].Lost || n[1].Lost {
		t.Errorf("notices %+v", n)
	}

	tunnel(t, s, "destination", lost["destinationAccessToken"].(string))
	eventually(t, "the relay cut one connection", func() bool { // it may not know it yet
		return s.done(t, "/faults/relay", `{"do":"cut","side":"destination"}`)["connections"] == 1.0
	})

	s.done(t, "/mqtt/freeze", "")
	s.done(t, "/mqtt/stop", "")
	if s.Broker.Running() || !s.Broker.Frozen() {
		t.Error("the broker is not stopped and frozen")
	}
	s.done(t, "/faults/clear", "")
	if !s.Broker.Running() || s.Broker.Frozen() {
		t.Error("clear left the broker down")
	}
	connect(t, s, "pi-1")
	if out := s.done(t, "/mqtt/kick", `{"client_id":"pi-1-tunnel"}`); out["done"] != true {
		t.Errorf("kick: %v", out)
	}
	if out := s.done(t, "/mqtt/kick", `{"client_id":"nobody"}`); out["done"] != false {
		t.Errorf("kick an unknown client: %v", out)
	}

	out := s.done(t, "/things", `{"thing":"pi-2"}`)
	if d, err := s.Device("pi-2"); err != nil || out["config_file"] != d.ConfigFile {
		t.Errorf("pi-2: %+v, %v, %v", d, err, out)
	}
	connect(t, s, "pi-2")

	_, state := admin(t, s, http.MethodGet, "/state", "", nil)
	if text := lost["destinationAccessToken"].(string); strings.Contains(strings.Join(flat(state), " "), text) {
		t.Error("the state shows a token")
	}
	list := state["tunnels"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["id"] != kept["tunnelId"] || list[0].(map[string]any)["thing"] != "pi-1" {
		t.Errorf("tunnels %v", list)
	}
	// The broker drops the session of the client that was kicked when it sees the socket's end: soon, not at once.
	eventually(t, "pi-2 is the only client left", func() bool {
		_, state := admin(t, s, http.MethodGet, "/state", "", nil)
		clients := state["mqtt"].(map[string]any)["clients"].([]any)
		return len(clients) == 1 && clients[0].(map[string]any)["client_id"] == "pi-2-tunnel"
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(soon); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// flat returns all texts in a JSON value.
func flat(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			all = append(all, flat(e)...)
		}
	case map[string]any:
		for _, e := range v {
			all = append(all, flat(e)...)
		}
	}
	return all
}

func TestPolicyCanBeBrokenAndRepaired(t *testing.T) {
	s := start(t, Config{})
	connect(t, s, "pi-1")
	s.done(t, "/mqtt/policy", `{"Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:Subscribe"],"Resource":"*"}]}`)
	if out := s.done(t, "/mqtt/publish", `{"thing":"pi-1","qos":1}`); out["sent"] != 0.0 {
		t.Errorf("without iot:Receive: %v", out)
	}
	s.done(t, "/mqtt/policy", "")
	if out := s.done(t, "/mqtt/publish", `{"thing":"pi-1","qos":1}`); out["sent"] != 1.0 {
		t.Errorf("repaired: %v", out)
	}
}

func TestBehaviourChangesWhatIsNamedOnly(t *testing.T) {
	s := start(t, Config{Behaviour: tunnels.Behaviour{SamePairWaits: true}, MQTT: broker.Behaviour{SubackFailure: true}})
	out := s.done(t, "/behaviour", `{"Tunnels":{"RefusalStatus":410},"API":{"ErrorStatus":403},"Notifications":{"Delay":"1m30s"}}`)
	_, now := admin(t, s, http.MethodGet, "/behaviour", "", nil)
	if diff := cmp.Diff(out, now); diff != "" {
		t.Errorf("GET after POST (-want +got):\n%s", diff)
	}
	pick := map[string]any{}
	for _, path := range []string{"Tunnels.SamePairWaits", "Tunnels.RefusalStatus", "API.ErrorStatus", "MQTT.SubackFailure", "Notifications.Delay", "Notifications.QoS0"} {
		group, name, _ := strings.Cut(path, ".")
		pick[path] = now[group].(map[string]any)[name]
	}
	want := map[string]any{
		"Tunnels.SamePairWaits": true, "Tunnels.RefusalStatus": 410.0, "API.ErrorStatus": 403.0, "MQTT.SubackFailure": true,
		"Notifications.Delay": "1m30s", "Notifications.QoS0": false,
	}
	if diff := cmp.Diff(want, pick); diff != "" {
		t.Errorf("behaviour (-want +got):\n%s", diff)
	}
	if status, _ := call(t, s, "DescribeTunnel", `{"tunnelId":"x"}`); status != 403 {
		t.Errorf("the API answers %d", status)
	}
}

func TestNotificationTiming(t *testing.T) {
	news := tunnels.Notify{ClientAccessToken: "token", Region: "eu-west-1", Services: []string{"SSH"}}
	tests := []struct {
		name string
		how  Notifications
		want []time.Duration // when it is published
	}{
		{"at once", Notifications{}, []time.Duration{0}},
		{"late", Notifications{Delay: time.Minute}, []time.Duration{time.Minute}},
		{"twice at once", Notifications{Repeat: true}, []time.Duration{0, 0}},
		{"twice", Notifications{Repeat: true, RepeatAfter: time.Second}, []time.Duration{0, time.Second}},
		{"late and twice", Notifications{Delay: time.Minute, Repeat: true, RepeatAfter: time.Second}, []time.Duration{time.Minute, time.Minute + time.Second}},
		{"lost", Notifications{Lose: 1, Repeat: true, Delay: time.Second}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				got := make(chan time.Duration, 10)
				cfg, err := Config{}.withDefaults()
				if err != nil {
					t.Fatal(err)
				}
				n := newNotifier(func(string, []byte, byte) (broker.Delivery, error) {
					got <- time.Since(begin)
					return broker.Delivery{}, nil
				}, tt.how, cfg.Logger)
				n.notify("pi-1", news)
				<-time.After(time.Hour)
				n.notify("pi-1", news)
				n.close() // drops what is late
				n.notify("pi-1", news)
				close(got)
				var all []time.Duration
				for d := range got {
					if d < time.Hour {
						all = append(all, d)
					}
				}
				if diff := cmp.Diff(tt.want, all); diff != "" {
					t.Errorf("published (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestNoticesAreBounded(t *testing.T) {
	s := start(t, Config{})
	for range maxNotices + 5 {
		if _, err := s.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "away", Services: []string{"a"}}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Notices()); n != maxNotices {
		t.Errorf("%d notices", n)
	}
}
