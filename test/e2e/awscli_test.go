package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// awsCLI is the real AWS CLI, version 2, turned to the sandbox's control API.
type awsCLI struct {
	path, endpoint string
	env            []string
	store          *tunnels.Store

	mu       sync.Mutex
	notified []tunnels.Notify
	things   []string
}

// newAWSCLI finds the AWS CLI and starts a sandbox for it.
func newAWSCLI(t *testing.T) *awsCLI {
	t.Helper()
	c := findAWSCLI(t)
	c.use(t, startSandbox(t, sandbox.Config{Region: "eu-west-1", Account: "123456789012"}))
	return c
}

// findAWSCLI finds the AWS CLI. A shim of a Python version manager in PATH is passed over: it may lead to another
// version, or nowhere.
func findAWSCLI(t *testing.T) *awsCLI {
	t.Helper()
	c := &awsCLI{}
	for _, path := range []string{"/usr/bin/aws", "/usr/local/bin/aws"} {
		if out, err := exec.Command(path, "--version").Output(); err == nil && strings.HasPrefix(string(out), "aws-cli/2.") {
			c.path = path
			break
		}
	}
	if c.path == "" {
		missingProgram(t, "the AWS CLI, version 2,")
	}
	return c
}

// use turns the CLI to a sandbox.
func (c *awsCLI) use(t *testing.T, box *sandbox.Sandbox) {
	t.Helper()
	c.store, c.endpoint = box.Store, box.APIURL
	c.store.OnNotify(func(thing string, n tunnels.Notify) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.things, c.notified = append(c.things, thing), append(c.notified, n)
	})
	home := t.TempDir()
	c.env = cleanEnv("HOME="+home, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=eu-west-1",
		"AWS_CONFIG_FILE="+filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(home, "credentials"),
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1", "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8", "NO_PROXY=*")
}

// notification returns the only one since the last call, failing the test if there is another number of them.
func (c *awsCLI) notification(t *testing.T) (thing string, n tunnels.Notify) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notified) != 1 {
		t.Fatalf("%d notifications, want 1", len(c.notified))
	}
	thing, n = c.things[0], c.notified[0]
	c.things, c.notified = nil, nil
	return thing, n
}

func (c *awsCLI) quiet(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notified) != 0 {
		t.Errorf("%d notifications, want none", len(c.notified))
	}
	c.things, c.notified = nil, nil
}

// try runs one command of "aws iotsecuretunneling".
func (c *awsCLI) try(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.path, append([]string{"iotsecuretunneling", "--endpoint-url", c.endpoint}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, c.env
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// text runs a command that must succeed.
func (c *awsCLI) text(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := c.try(t, args...)
	if code != 0 {
		t.Fatalf("aws %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

type object = map[string]any

// call runs a command that must succeed and returns its JSON output; nil when there is none.
func (c *awsCLI) call(t *testing.T, args ...string) object {
	t.Helper()
	out := c.text(t, args...)
	if strings.TrimSpace(out) == "" {
		return nil
	}
	var o object
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		t.Fatalf("output is no JSON object: %v\n%s", err, out)
	}
	return o
}

// volatile are the members whose value no test can know, with what they look like.
var volatile = map[string]*regexp.Regexp{
	"tunnelId":               regexp.MustCompile(`^[a-zA-Z0-9_\-+=:]{1,128}$`),
	"tunnelArn":              regexp.MustCompile(`^arn:aws:iot:eu-west-1:123456789012:tunnel/[a-zA-Z0-9_\-+=:]{1,128}$`),
	"sourceAccessToken":      regexp.MustCompile(`^[A-Za-z0-9_-]{600}$`),
	"destinationAccessToken": regexp.MustCompile(`^[A-Za-z0-9_-]{600}$`),
	"createdAt":              regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d$`),
	"lastUpdatedAt":          regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d$`),
}

// shape replaces the volatile members that look right by their names in brackets, so that all others can be compared.
// A time must moreover be one of the last minutes.
func shape(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for k, e := range v {
			s, isText := e.(string)
			if form := volatile[k]; form == nil || !isText || !form.MatchString(s) {
				out[k] = shape(e)
				continue
			}
			if strings.HasSuffix(k, "At") {
				if at, err := time.Parse(time.RFC3339, s); err != nil || time.Since(at).Abs() > 10*time.Minute {
					out[k] = "not a recent time: " + s
					continue
				}
			}
			out[k] = "<" + k + ">"
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, shape(e))
		}
		return out
	}
	return v
}

func wantShape(t *testing.T, what string, want, got object) {
	t.Helper()
	if d := cmp.Diff(any(want), shape(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestAWSCLITunnelLife takes one tunnel through all eight operations.
func TestAWSCLITunnelLife(t *testing.T) {
	t.Parallel()
	c := newAWSCLI(t)
	opened := c.call(t, "open-tunnel", "--description", "a cable too short", "--tags", "key=team,value=field", "key=site,value=",
		"--destination-config", "thingName=pi-42,services=SSH,HTTP", "--timeout-config", "maxLifetimeTimeoutMinutes=60")
	wantShape(t, "open-tunnel", object{
		"tunnelId": "<tunnelId>", "tunnelArn": "<tunnelArn>",
		"sourceAccessToken": "<sourceAccessToken>", "destinationAccessToken": "<destinationAccessToken>",
	}, opened)
	id, arn := opened["tunnelId"].(string), opened["tunnelArn"].(string)
	if !strings.HasSuffix(arn, "/"+id) {
		t.Errorf("ARN %s does not end in the id %s", arn, id)
	}
	thing, n := c.notification(t)
	want := tunnels.Notify{ClientAccessToken: opened["destinationAccessToken"].(string), Region: "eu-west-1", Services: []string{"SSH", "HTTP"}}
	if d := cmp.Diff(want, n); d != "" || thing != "pi-42" {
		t.Errorf("notification to %s (-want +got):\n%s", thing, d)
	}

	disconnected := object{"status": "DISCONNECTED", "lastUpdatedAt": "<lastUpdatedAt>"}
	wantTunnel := object{
		"tunnelId": "<tunnelId>", "tunnelArn": "<tunnelArn>", "status": "OPEN", "description": "a cable too short",
		"sourceConnectionState": disconnected, "destinationConnectionState": disconnected,
		"destinationConfig": object{"thingName": "pi-42", "services": []any{"SSH", "HTTP"}},
		"timeoutConfig":     object{"maxLifetimeTimeoutMinutes": 60.0},
		"tags":              []any{object{"key": "team", "value": "field"}, object{"key": "site", "value": ""}},
		"createdAt":         "<createdAt>", "lastUpdatedAt": "<lastUpdatedAt>",
	}
	wantShape(t, "describe-tunnel", object{"tunnel": wantTunnel}, c.call(t, "describe-tunnel", "--tunnel-id", id))

	wantShape(t, "list-tunnels", object{"tunnelSummaries": []any{object{
		"tunnelId": "<tunnelId>", "tunnelArn": "<tunnelArn>", "status": "OPEN", "description": "a cable too short",
		"createdAt": "<createdAt>", "lastUpdatedAt": "<lastUpdatedAt>",
	}}}, c.call(t, "list-tunnels", "--thing-name", "pi-42"))

	if out := c.call(t, "tag-resource", "--resource-arn", arn, "--tags", "key=site,value=roof", "key=a b,value=c/d@e"); out != nil {
		t.Errorf("tag-resource printed %v", out)
	}
	if out := c.call(t, "untag-resource", "--resource-arn", arn, "--tag-keys", "team", "absent"); out != nil {
		t.Errorf("untag-resource printed %v", out)
	}
	wantShape(t, "list-tags-for-resource", object{"tags": []any{object{"key": "site", "value": "roof"}, object{"key": "a b", "value": "c/d@e"}}},
		c.call(t, "list-tags-for-resource", "--resource-arn", arn))

	if out := c.call(t, "close-tunnel", "--tunnel-id", id); out != nil {
		t.Errorf("close-tunnel printed %v", out)
	}
	wantTunnel["status"] = "CLOSED"
	wantTunnel["tags"] = []any{object{"key": "site", "value": "roof"}, object{"key": "a b", "value": "c/d@e"}}
	wantShape(t, "describe-tunnel of a closed one", object{"tunnel": wantTunnel}, c.call(t, "describe-tunnel", "--tunnel-id", id))
	c.call(t, "close-tunnel", "--tunnel-id", id, "--delete")
	c.fails(t, "ResourceNotFoundException", "DescribeTunnel", id, "describe-tunnel", "--tunnel-id", id)
	wantShape(t, "list-tunnels without one", object{"tunnelSummaries": []any{}}, c.call(t, "list-tunnels"))
	c.quiet(t)
}

// fails runs a command that the service must refuse with an error of a type, whose message holds a text.
func (c *awsCLI) fails(t *testing.T, errorType, operation, holds string, args ...string) {
	t.Helper()
	out, errs, code := c.try(t, args...)
	// The CLI says "reached max retries" of some errors, because it was told not to retry at all.
	said := strings.Replace(errs, " (reached max retries: 0)", "", 1)
	if want := "An error occurred (" + errorType + ") when calling the " + operation + " operation: "; code != 254 ||
		!strings.Contains(said, want) || !strings.Contains(said, holds) || out != "" {
		t.Errorf("aws %s: exit code %d, want 254, %q and %q\nstdout: %s\nstderr: %s", strings.Join(args, " "), code, want, holds, out, errs)
	}
}

// TestAWSCLIRotate covers every option of rotate-tunnel-access-token that reaches the service.
func TestAWSCLIRotate(t *testing.T) {
	t.Parallel()
	c := newAWSCLI(t)
	opened, err := c.store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-42", Services: []string{"SSH"}}})
	if err != nil {
		t.Fatal(err)
	}
	c.notification(t)
	id := opened.Tunnel.ID
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	source, destination := "sourceAccessToken", "destinationAccessToken"
	tests := []struct {
		name   string
		args   []string
		tokens []string
		notify *tunnels.Notify // but for the token
		thing  string
	}{
		{"SOURCE rotates the source alone", []string{"--tunnel-id", id, "--client-mode", "SOURCE"}, []string{source}, nil, ""},
		{"DESTINATION without a configuration notifies nobody", []string{"--tunnel-id", id, "--client-mode", "DESTINATION"}, []string{destination}, nil, ""},
		{"ALL rotates both", []string{"--tunnel-id", id, "--client-mode", "ALL"}, []string{source, destination}, nil, ""},
		{
			"destination-config in shorthand",
			[]string{"--tunnel-id", id, "--client-mode", "DESTINATION", "--destination-config", "thingName=pi-43,services=SSH,HTTP"},
			[]string{destination},
			&tunnels.Notify{Services: []string{"SSH", "HTTP"}}, "pi-43",
		},
		{
			"destination-config in JSON",
			[]string{"--tunnel-id", id, "--client-mode", "ALL", "--destination-config", `{"thingName":"pi:44","services":["a_b","VNC:1"]}`},
			[]string{source, destination},
			&tunnels.Notify{Services: []string{"a_b", "VNC:1"}}, "pi:44",
		},
		{
			"destination-config without a thing notifies nobody",
			[]string{"--tunnel-id", id, "--client-mode", "DESTINATION", "--destination-config", "services=SSH"},
			[]string{destination},
			nil, "",
		},
		{
			"cli-input-json",
			[]string{"--cli-input-json", `{"tunnelId":"` + id + `","clientMode":"DESTINATION","destinationConfig":{"thingName":"pi-45","services":["SSH"]}}`},
			[]string{destination},
			&tunnels.Notify{Services: []string{"SSH"}}, "pi-45",
		},
		{
			"cli-input-json from a file, an option winning over it",
			[]string{"--cli-input-json", file("in.json", `{"tunnelId":"`+id+`","clientMode":"SOURCE"}`), "--client-mode", "ALL"},
			[]string{source, destination},
			nil, "",
		},
		{
			"cli-input-yaml from a file",
			[]string{"--cli-input-yaml", file("in.yaml", "tunnelId: "+id+"\nclientMode: ALL\ndestinationConfig:\n  thingName: pi-46\n  services:\n  - SSH\n  - RDP\n")},
			[]string{source, destination},
			&tunnels.Notify{Services: []string{"SSH", "RDP"}}, "pi-46",
		},
	}
	seen := map[string]string{opened.SourceToken: "open", opened.DestinationToken: "open"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := c.call(t, append([]string{"rotate-tunnel-access-token"}, tt.args...)...)
			want := object{"tunnelArn": "<tunnelArn>"}
			for _, k := range tt.tokens {
				want[k] = "<" + k + ">"
				token, _ := got[k].(string)
				if at, repeated := seen[token]; repeated {
					t.Errorf("%s was given out before, by %q", k, at)
				}
				seen[token] = tt.name
			}
			wantShape(t, "output", want, got)
			if got["tunnelArn"] != opened.Tunnel.ARN {
				t.Errorf("tunnelArn %v, want %s", got["tunnelArn"], opened.Tunnel.ARN)
			}
			if tt.notify == nil {
				c.quiet(t)
				return
			}
			thing, n := c.notification(t)
			tt.notify.ClientAccessToken, tt.notify.Region = got[destination].(string), "eu-west-1"
			if d := cmp.Diff(*tt.notify, n); d != "" || thing != tt.thing {
				t.Errorf("notification to %s, want %s (-want +got):\n%s", thing, tt.thing, d)
			}
		})
	}
	t.Run("generate-cli-skeleton asks nobody", func(t *testing.T) {
		c := &awsCLI{path: c.path, endpoint: "http://127.0.0.1:1", env: c.env}
		want := object{"tunnelId": "", "clientMode": "SOURCE", "destinationConfig": object{"thingName": "", "services": []any{""}}}
		if d := cmp.Diff(want, c.call(t, "rotate-tunnel-access-token", "--generate-cli-skeleton")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestAWSCLIPages(t *testing.T) {
	t.Parallel()
	c := newAWSCLI(t)
	var ids []string // newest first
	for range 3 {
		o, err := c.store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-42", Services: []string{"SSH"}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append([]string{o.Tunnel.ID}, ids...)
	}
	if _, err := c.store.Open(tunnels.OpenInput{}); err != nil {
		t.Fatal(err)
	}
	page := func(args ...string) (got []string, next string) {
		t.Helper()
		out := c.call(t, append([]string{"list-tunnels", "--thing-name", "pi-42", "--no-paginate"}, args...)...)
		for _, s := range out["tunnelSummaries"].([]any) {
			got = append(got, s.(object)["tunnelId"].(string))
		}
		next, _ = out["nextToken"].(string)
		return got, next
	}
	got, next := page("--max-results", "2")
	if d := cmp.Diff(ids[:2], got); d != "" || next == "" {
		t.Errorf("first page, next token %q (-want +got):\n%s", next, d)
	}
	if got, next = page("--max-results", "2", "--next-token", next); !cmp.Equal(ids[2:], got) || next != "" {
		t.Errorf("second page %v, want %v; next token %q", got, ids[2:], next)
	}
	if got, next = page(); !cmp.Equal(ids, got) || next != "" {
		t.Errorf("all %v, want %v; next token %q", got, ids, next)
	}
	if out := c.text(t, "list-tunnels", "--query", "length(tunnelSummaries)"); strings.TrimSpace(out) != "4" {
		t.Errorf("all things: %s tunnels, want 4", strings.TrimSpace(out))
	}
}

func TestAWSCLIErrors(t *testing.T) {
	t.Parallel()
	c := newAWSCLI(t)
	o, err := c.store.Open(tunnels.OpenInput{})
	if err != nil {
		t.Fatal(err)
	}
	id, arn := o.Tunnel.ID, o.Tunnel.ARN
	closed, err := c.store.Open(tunnels.OpenInput{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.store.Close(closed.Tunnel.ID, false); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, errorType, operation, holds string
		args                              []string
	}{
		{"an unknown tunnel", "ResourceNotFoundException", "DescribeTunnel", "nope", []string{"describe-tunnel", "--tunnel-id", "nope"}},
		{"a closed tunnel", "ResourceNotFoundException", "RotateTunnelAccessToken", closed.Tunnel.ID, []string{"rotate-tunnel-access-token", "--tunnel-id", closed.Tunnel.ID, "--client-mode", "ALL"}},
		{"tags of an unknown tunnel", "ResourceNotFoundException", "ListTagsForResource", "", []string{"list-tags-for-resource", "--resource-arn", arn + "x"}},
		{"SOURCE with a destination-config", "ValidationException", "RotateTunnelAccessToken", "SOURCE", []string{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "SOURCE", "--destination-config", "services=SSH"}},
		{"an unknown client mode", "ValidationException", "RotateTunnelAccessToken", "clientMode", []string{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "BOTH"}},
		{"an id of wrong characters", "ValidationException", "DescribeTunnel", "tunnelId", []string{"describe-tunnel", "--tunnel-id", "a b"}},
		{"an id that is too long", "ValidationException", "CloseTunnel", "tunnelId", []string{"close-tunnel", "--tunnel-id", strings.Repeat("a", 129)}},
		{"four services", "LimitExceededException", "OpenTunnel", "", []string{"open-tunnel", "--destination-config", "services=a,b,c,d"}},
		{"a life of thirteen hours", "ValidationException", "OpenTunnel", "maxLifetimeTimeoutMinutes", []string{"open-tunnel", "--timeout-config", "maxLifetimeTimeoutMinutes=780"}},
		{"a foreign region", "InvalidSignatureException", "DescribeTunnel", "region", []string{"describe-tunnel", "--tunnel-id", id, "--region", "us-west-2"}},
		{"no signature", "MissingAuthenticationTokenException", "DescribeTunnel", "", []string{"describe-tunnel", "--tunnel-id", id, "--no-sign-request"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c.fails(t, tt.errorType, tt.operation, tt.holds, tt.args...)
		})
	}
}

func TestAWSCLIOutputForms(t *testing.T) {
	t.Parallel()
	c := newAWSCLI(t)
	o, err := c.store.Open(tunnels.OpenInput{Description: "forms", Destination: &tunnels.DestinationConfig{ThingName: "pi-42", Services: []string{"SSH", "HTTP"}}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		form string
		want []string // each a line, but for blanks
	}{
		{"text", []string{"TUNNEL", "DESTINATIONCONFIG\tpi-42", "SERVICES\tSSH", "SERVICES\tHTTP", "TIMEOUTCONFIG\t720"}},
		{"table", []string{"DescribeTunnel", "thingName | pi-42", "maxLifetimeTimeoutMinutes | 720"}},
		{"yaml", []string{"tunnel:", "tunnelId: " + o.Tunnel.ID, "thingName: pi-42", "- SSH", "maxLifetimeTimeoutMinutes: 720", "status: OPEN"}},
		{"yaml-stream", []string{"- tunnel:", "status: OPEN"}},
	}
	for _, tt := range tests {
		t.Run(tt.form, func(t *testing.T) {
			t.Parallel()
			out := c.text(t, "describe-tunnel", "--tunnel-id", o.Tunnel.ID, "--output", tt.form)
			squeezed := regexp.MustCompile(` +`).ReplaceAllString(out, " ")
			for _, w := range tt.want {
				if !strings.Contains(squeezed, w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
		})
	}
}
