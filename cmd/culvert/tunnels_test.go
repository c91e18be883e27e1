package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeAPI is a control API with tunnels of any age.
type fakeAPI struct {
	t  *testing.T
	mu sync.Mutex

	tunnels     []fakeTunnel
	closed      []string
	described   map[string]int
	onDescribe  func(id string, nth int, t *fakeTunnel) // changes the answer
	refuseClose string                                  // a tunnel's id
}

type fakeTunnel struct {
	id, thing string
	age       time.Duration
	connected bool
	left      time.Duration // how long ago the source connected or left; 0 is never
	closed    bool
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		ThingName string `json:"thingName"`
		TunnelID  string `json:"tunnelId"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		f.t.Error(err)
	}
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	epoch := func(ago time.Duration) float64 { return float64(time.Now().Add(-ago).UnixMilli()) / 1000 }
	status := func(t fakeTunnel) string {
		if t.closed {
			return "CLOSED"
		}
		return "OPEN"
	}
	switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
	case "ListTunnels":
		list := []any{}
		for _, t := range f.tunnels {
			if in.ThingName == "" || in.ThingName == t.thing {
				list = append(list, map[string]any{"tunnelId": t.id, "status": status(t), "createdAt": epoch(t.age)})
			}
		}
		answer(map[string]any{"tunnelSummaries": list})
	case "DescribeTunnel":
		i := slices.IndexFunc(f.tunnels, func(t fakeTunnel) bool { return t.id == in.TunnelID })
		t := f.tunnels[i]
		f.described[t.id]++
		if f.onDescribe != nil {
			f.onDescribe(t.id, f.described[t.id], &t)
		}
		source := map[string]any{"status": "DISCONNECTED"}
		if t.connected {
			source["status"] = "CONNECTED"
		}
		if t.left > 0 {
			source["lastUpdatedAt"] = epoch(t.left)
		}
		tunnel := map[string]any{
			"tunnelId": t.id, "status": status(t), "createdAt": epoch(t.age), "timeoutConfig": map[string]any{"maxLifetimeTimeoutMinutes": 720},
			"sourceConnectionState": source, "destinationConnectionState": map[string]any{"status": "CONNECTED"},
		}
		if t.thing != "" {
			tunnel["destinationConfig"] = map[string]any{"thingName": t.thing, "services": []string{"SSH"}}
		}
		answer(map[string]any{"tunnel": tunnel})
	case "CloseTunnel":
		if in.TunnelID == f.refuseClose {
			w.WriteHeader(http.StatusBadRequest)
			answer(map[string]any{"__type": "AccessDeniedException", "Message": "no"})
			return
		}
		f.closed = append(f.closed, in.TunnelID)
		answer(map[string]any{})
	default:
		f.t.Errorf("%s was called", operation)
	}
}

// tunnels runs culvert tunnels against it.
func (f *fakeAPI) run(args ...string) (out, errs string, code int) {
	f.t.Helper()
	f.described = map[string]int{}
	server := httptest.NewServer(f)
	defer server.Close()
	f.t.Setenv("XDG_RUNTIME_DIR", f.t.TempDir())
	f.t.Setenv("AWS_REGION", "r")
	var o, e bytes.Buffer
	code = run(append([]string{"tunnels", "--no-sign-request", "--endpoint-url", server.URL}, args...), &o, &e)
	slices.Sort(f.closed)
	return o.String(), e.String(), code
}

func newFakeAPI(t *testing.T) *fakeAPI {
	return &fakeAPI{t: t, tunnels: []fakeTunnel{
		{id: "forgotten", thing: "pi-1", age: 3 * time.Hour},
		{id: "left", thing: "pi-1", age: 5 * time.Hour, left: time.Hour},
		{id: "in-use", thing: "pi-1", age: 3 * time.Hour, left: 2 * time.Hour, connected: true},
		{id: "young", thing: "pi-1", age: 14 * time.Minute},
		{id: "of-tomorrow", thing: "pi-1", age: -time.Hour}, // this machine's clock is behind
		{id: "just-left", thing: "pi-1", age: 3 * time.Hour, left: 14 * time.Minute},
		{id: "closed", thing: "pi-1", age: 3 * time.Hour, closed: true},
		{id: "others", thing: "pi-2", age: 3 * time.Hour},
		{id: "nobodys", age: 3 * time.Hour},
	}}
}

func TestPruneClosesUnusedTunnels(t *testing.T) {
	f := newFakeAPI(t)
	out, errs, code := f.run("--prune", "--yes", "pi-1")
	if d := cmp.Diff([]string{"forgotten", "left"}, f.closed); code != 0 || d != "" {
		t.Errorf("exit code %d, -want +got:\n%s\n%s", code, d, errs)
	}
	if want := "closed forgotten of pi-1\nclosed left of pi-1\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	for _, want := range []string{"pi-1, tunnel forgotten (SSH), opened 3 h ago, no source was ever connected\n", "pi-1, tunnel left (SSH), opened 5 h ago, last used 1 h ago\n"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	f.closed = nil
	if out, _, code = f.run("--prune", "-y", "--all", "--json"); code != 0 || len(f.closed) != 4 || strings.Count(out, `"state":"closed"`) != 4 {
		t.Errorf("exit code %d, closed %v\n%s", code, f.closed, out)
	}
}

func TestPruneAsksFirst(t *testing.T) {
	f := newFakeAPI(t)
	out, errs, code := f.run("--prune", "--all")
	if code != 2 || out != "" || len(f.closed) != 0 || !strings.Contains(errs, "4 of 8 open tunnels can be closed: confirm it with --yes") {
		t.Errorf("exit code %d, closed %v\n%s%s", code, f.closed, out, errs)
	}
	f.tunnels = nil
	if _, errs, code = f.run("--prune", "--all"); code != 0 || !strings.Contains(errs, "nothing to close") {
		t.Errorf("without a tunnel: exit code %d\n%s", code, errs)
	}
}

func TestPruneLeavesATunnelThatWasTakenMeanwhile(t *testing.T) {
	f := newFakeAPI(t)
	f.onDescribe = func(id string, nth int, t *fakeTunnel) {
		if id == "forgotten" && nth > 1 {
			t.connected = true
		}
		if id == "left" && nth > 1 {
			t.closed = true
		}
	}
	out, errs, code := f.run("--prune", "--yes", "pi-1")
	if want := "kept forgotten of pi-1: in use\nclosed left of pi-1: it was closed already\n"; code != 0 || len(f.closed) > 0 || out != want {
		t.Errorf("exit code %d, closed %v\n%s%s", code, f.closed, out, errs)
	}
}

func TestPruneSaysWhatItCouldNotClose(t *testing.T) {
	f := newFakeAPI(t)
	f.refuseClose = "forgotten"
	out, errs, code := f.run("--prune", "--yes", "pi-1")
	if code != 1 || !slices.Equal(f.closed, []string{"left"}) || !strings.Contains(out, "failed forgotten of pi-1: ") || !strings.Contains(errs, "1 of 2 tunnels were not closed") {
		t.Errorf("exit code %d, closed %v\n%s%s", code, f.closed, out, errs)
	}
}

func TestTunnelsOfAThing(t *testing.T) {
	f := newFakeAPI(t)
	out, errs, code := f.run("--json", "pi-2", "pi-2")
	var got tunnelRow
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	connected := true
	want := tunnelRow{Thing: "pi-2", Tunnel: "others", Services: []string{"SSH"}, Since: got.Since, Expires: got.Expires, Device: &connected}
	if d := cmp.Diff(want, got); d != "" || got.Since == nil || got.Expires.Sub(*got.Since) != 12*time.Hour {
		t.Errorf("-want +got:\n%s", d)
	}
	out, _, code = f.run("pi-1")
	if n := strings.Count(out, "\n"); code != 0 || n != 7 || !strings.HasPrefix(out, "THING  TUNNEL ") || !strings.Contains(out, "3 h") || strings.Contains(out, "closed") {
		t.Errorf("exit code %d, %d lines:\n%s", code, n, out)
	}
}

func TestUsageOfTunnels(t *testing.T) {
	f := newFakeAPI(t)
	for want, args := range map[string][]string{
		"--prune needs names of things":               {"--prune"},
		"--all excludes names":                        {"--all", "pi-1"},
		"--close takes one thing":                     {"--close", "pi-1", "--prune"},
		`"x y" cannot be the name of a thing`:         {"x y"},
		`"" cannot be the name of a thing`:            {"--close", ""},
		"--yes is for --prune":                        {"--yes"},
		"--output xml: table, text and json are know": {"--output", "xml"},
		"--json excludes another --output":            {"--json", "--output", "table"},
	} {
		if out, errs, code := f.run(args...); code != 2 || out != "" || !strings.Contains(errs, want) || !strings.Contains(errs, "hint: culvert tunnels --help") {
			t.Errorf("%q: exit code %d\n%s%s", args, code, out, errs)
		}
	}
	if out, errs, code := f.run("--close", "pi-1"); code != 1 || out != "" || !strings.Contains(errs, "no tunnel to pi-1 is held\nhint: ") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if out, errs, code := f.run(); code != 0 || out != "" || errs != "culvert: no tunnel is held\n" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	if len(f.described) > 0 {
		t.Errorf("AWS was asked about %v", f.described)
	}
}

func TestAPriceIsMultipliedIfItCanBeRead(t *testing.T) {
	for price, want := range map[string]string{
		"": "", "1": "3", "1.50": "4.50", "1.50 USD": "4.50 USD", "$0.99": "$2.97", "0.1": "0.3",
		"1,50 EUR": "3 times 1,50 EUR", "a dollar": "3 times a dollar", "1-2 USD": "3 times 1-2 USD", "1,000 USD": "3 times 1,000 USD",
	} {
		if got := times(price, 3); got != want {
			t.Errorf("3 times %q: %q, want %q", price, got, want)
		}
	}
}

// On a terminal, prune asks.
func TestPruneTakesTheAnswer(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("script(1), which makes a terminal, is not installed")
	}
	for answer, want := range map[string]struct {
		closed []string
		code   int
	}{"y\n": {[]string{"forgotten", "left"}, 0}, "YES\n": {[]string{"forgotten", "left"}, 0}, "\n": {nil, 1}, "no\n": {nil, 1}} {
		f := newFakeAPI(t)
		f.described = map[string]int{}
		server := httptest.NewServer(f)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, script, "-q", "-e", "-c", self+" tunnels --no-sign-request --region r --endpoint-url "+server.URL+" --prune pi-1", "/dev/null")
		cmd.Env = append(os.Environ(), "CULVERT_TEST_MAIN=1", "XDG_RUNTIME_DIR="+t.TempDir())
		cmd.Stdin = strings.NewReader(answer)
		out, _ := cmd.CombinedOutput()
		cancel()
		server.Close()
		slices.Sort(f.closed)
		if !slices.Equal(f.closed, want.closed) || cmd.ProcessState.ExitCode() != want.code || !strings.Contains(string(out), "2 of 6 open tunnels can be closed. Close them? [y/N] ") {
			t.Errorf("%q: exit code %d, closed %v\n%s", answer, cmd.ProcessState.ExitCode(), f.closed, out)
		}
	}
}
