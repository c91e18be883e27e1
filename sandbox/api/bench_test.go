package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin is when every test of this package starts; its clock stands still until told.
var begin = time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)

type bench struct {
	t     *testing.T
	api   *API
	store *tunnels.Store
	now   time.Time
	told  []string // things notified
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: begin}
	clock := func() time.Time { return b.now }
	b.store = tunnels.New(tunnels.Config{Region: "eu-west-1", Now: clock})
	b.store.OnNotify(func(thing string, n tunnels.Notify) { b.told = append(b.told, thing+strings.Join(n.Services, "+")) })
	cfg := Config{Store: b.store, Now: clock}
	if change != nil {
		change(&cfg)
	}
	b.api = New(cfg)
	return b
}

func (b *bench) authorization() string {
	return "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/" + b.now.Format("20060102") + "/eu-west-1/IoTSecuredTunneling/aws4_request, " +
		"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + strings.Repeat("0a", 32)
}

func (b *bench) request(operation, body string) *http.Request {
	r := httptest.NewRequestWithContext(b.t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "IoTSecuredTunneling."+operation)
	r.Header.Set("X-Amz-Date", stamp(b.now))
	r.Header.Set("Authorization", b.authorization())
	return r
}

// answer is what a client sees.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (b *bench) send(r *http.Request) answer {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil {
		b.t.Fatalf("answer %q: %v", w.Body, err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(w.Header().Get("x-amzn-RequestId")) {
		b.t.Errorf("request id %q", w.Header().Get("x-amzn-RequestId"))
	}
	return a
}

// ok calls an operation that must succeed.
func (b *bench) ok(operation, body string) map[string]any {
	b.t.Helper()
	a := b.send(b.request(operation, body))
	if a.status != http.StatusOK {
		b.t.Fatalf("%s %s: status %d, %v", operation, body, a.status, a.body)
	}
	return a.body
}

// refused calls an operation that must fail with this type and a message that contains the text.
func (b *bench) refused(operation, body, wantType, wantText string) {
	b.t.Helper()
	b.wantError(b.send(b.request(operation, body)), 0, wantType, wantText)
}

func (b *bench) wantError(a answer, status int, wantType, wantText string) {
	b.t.Helper()
	message, _ := a.body["message"].(string)
	if a.body["__type"] != wantType || !strings.Contains(message, wantText) {
		b.t.Errorf("answer %v, want a %s with %q", a.body, wantType, wantText)
	}
	if a.header.Get("x-amzn-ErrorType") != wantType {
		b.t.Errorf("x-amzn-ErrorType %q, want %q", a.header.Get("x-amzn-ErrorType"), wantType)
	}
	if a.status < 400 || status != 0 && a.status != status {
		b.t.Errorf("status %d, want %d", a.status, status)
	}
}

func (b *bench) open(body string) (id, arn string) {
	b.t.Helper()
	out := b.ok("OpenTunnel", body)
	return out["tunnelId"].(string), out["tunnelArn"].(string)
}

// at is a time stamp as JSON shows it.
func at(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
