package e2e

import (
	"encoding/json"
	"errors"
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
