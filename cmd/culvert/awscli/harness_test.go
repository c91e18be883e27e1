package awscli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestMain shields the tests from the machine's own AWS configuration.
func TestMain(m *testing.M) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	home, err := os.MkdirTemp("", "culvert-aws-*")
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{
		"HOME": home, "AWS_CONFIG_FILE": filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"),
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1",
		"NO_PROXY": "*", "TZ": "UTC",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

// bench is the sandbox's control API with what a user sees of it.
type bench struct {
	t     *testing.T
	api   *api.API
	store *tunnels.Store
	url   string

	mu    sync.Mutex
	told  []string // things and services notified
	calls []string // operations
}

func newBench(t *testing.T, change func(*api.Config)) *bench {
	t.Helper()
	b := &bench{t: t, store: tunnels.New(tunnels.Config{Region: "eu-west-1", MaxTunnels: 20})}
	b.store.OnNotify(func(thing string, n tunnels.Notify) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, thing+" "+strings.Join(n.Services, "+"))
	})
	cfg := api.Config{Store: b.store}
	if change != nil {
		change(&cfg)
	}
	b.api = api.New(cfg)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		b.calls = append(b.calls, operation)
		b.mu.Unlock()
		b.api.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// since returns what was notified and called since the last time.
func (b *bench) since() (told, calls []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	told, calls = b.told, b.calls
	b.told, b.calls = nil, nil
	return told, calls
}

// culvert runs a command as main does.
func culvert(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return culvertWithInput(t, "", args...)
}

func culvertWithInput(t *testing.T, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	root := &cobra.Command{Use: "culvert", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands()...)
	root.SetArgs(Arguments(root, args))
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(t.Context()); err != nil {
		var ok bool
		if code, ok = Report(&errs, err); !ok {
			t.Fatalf("culvert %v: %T: %v", args, err, err)
		}
	}
	return out.String(), errs.String(), code
}

// text runs a command that must succeed.
func (b *bench) text(args ...string) string {
	b.t.Helper()
	out, errs, code := culvert(b.t, append(args, "--endpoint-url", b.url)...)
	if code != 0 {
		b.t.Fatalf("culvert %s: exit %d, %s", strings.Join(args, " "), code, errs)
	}
	return out
}

func (b *bench) object(args ...string) object {
	b.t.Helper()
	var o object
	if err := json.Unmarshal([]byte(b.text(args...)), &o); err != nil {
		b.t.Fatalf("culvert %v: %v", args, err)
	}
	return o
}

// open opens a tunnel to pi-1.
func (b *bench) open(thing string) *tunnels.Opened {
	b.t.Helper()
	o, err := b.store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: thing, Services: []string{"SSH", "HTTP"}}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.since()
	return &o
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
