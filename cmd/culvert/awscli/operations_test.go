package awscli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// One tunnel from its first command to its last, through all eight.
func TestATunnelsLife(t *testing.T) {
	b := newBench(t, nil)
	opened := b.object("open", "--description", "für Käthe", "--destination-config", "thingName=pi-1,services=SSH,HTTP",
		"--timeout-config", "maxLifetimeTimeoutMinutes=60", "--tags", "key=team,value=field ops", "key=empty,value=")
	id, arn := opened["tunnelId"].(string), opened["tunnelArn"].(string)
	told, _ := b.since()
	equal(t, "told", []string{"pi-1 SSH+HTTP"}, told)

	tunnel := b.object("describe", "--tunnel-id", id)["tunnel"].(object)
	equal(t, "destinationConfig", any(object{"thingName": "pi-1", "services": []any{"SSH", "HTTP"}}), tunnel["destinationConfig"])
	equal(t, "timeoutConfig", any(object{"maxLifetimeTimeoutMinutes": 60.0}), tunnel["timeoutConfig"])
	equal(t, "tags", any([]any{object{"key": "team", "value": "field ops"}, object{"key": "empty", "value": ""}}), tunnel["tags"])
	equal(t, "description", any("für Käthe"), tunnel["description"])

	rotated := b.object("rotate", "--tunnel-id", id, "--client-mode", "SOURCE")
	if rotated["sourceAccessToken"] == opened["sourceAccessToken"] || rotated["destinationAccessToken"] != nil || rotated["tunnelArn"] != arn {
		t.Errorf("rotated: %v", rotated)
	}
	equal(t, "tag-resource", "", b.text("tag-resource", "--resource-arn", arn, "--tags", `[{"key":"site","value":"roof"}]`))
	equal(t, "untag-resource", "", b.text("untag-resource", "--resource-arn", arn, "--tag-keys", "team", "empty"))
	equal(t, "list-tags-for-resource", object{"tags": []any{object{"key": "site", "value": "roof"}}}, b.object("list-tags-for-resource", "--resource-arn", arn))
	equal(t, "close", "", b.text("close", "--tunnel-id", id, "--no-delete"))
	equal(t, "list", id+"\tCLOSED\n", b.text("list", "--query", "tunnelSummaries[].[tunnelId, status]", "--output", "text"))
	equal(t, "close", "", b.text("close", "--tunnel-id", id, "--delete"))
	equal(t, "list", object{"tunnelSummaries": []any{}}, b.object("list"))
}

// Every way to say what is to be sent, on the operation with most of it.
func TestWaysToRotate(t *testing.T) {
	const source, destination = "sourceAccessToken", "destinationAccessToken"
	document := `{"tunnelId":"ID","clientMode":"DESTINATION","destinationConfig":{"thingName":"pi-45","services":["SSH"]}}`
	tests := []struct {
		name   string
		args   []string // ID is the tunnel's, @ makes a file of the rest
		tokens []string
		told   []string
	}{
		{"SOURCE", []string{"--tunnel-id", "ID", "--client-mode", "SOURCE"}, []string{source}, nil},
		{"options with equals signs", []string{"--tunnel-id=ID", "--client-mode=SOURCE"}, []string{source}, nil},
		{"DESTINATION is filled in from the tunnel", []string{"--tunnel-id", "ID", "--client-mode", "DESTINATION"}, []string{destination}, []string{"pi-1 SSH+HTTP"}},
		{"ALL is filled in from the tunnel", []string{"--tunnel-id", "ID", "--client-mode", "ALL"}, []string{source, destination}, []string{"pi-1 SSH+HTTP"}},
		{"not filled in", []string{"--tunnel-id", "ID", "--client-mode", "ALL", "--no-fill"}, []string{source, destination}, nil},
		{"the tunnel of a thing", []string{"--thing", "pi-1", "--client-mode", "SOURCE"}, []string{source}, nil},
		{"shorthand", []string{"--tunnel-id", "ID", "--client-mode", "DESTINATION", "--destination-config", "thingName=pi-43,services=SSH,RDP"}, []string{destination}, []string{"pi-43 SSH+RDP"}},
		{"shorthand with one service", []string{"--tunnel-id", "ID", "--client-mode", "DESTINATION", "--destination-config", "services=SSH,thingName=pi-43"}, []string{destination}, []string{"pi-43 SSH"}},
		{"JSON", []string{"--tunnel-id", "ID", "--client-mode", "ALL", "--destination-config", `{"thingName":"pi:44","services":["a_b","VNC:1"]}`}, []string{source, destination}, []string{"pi:44 a_b+VNC:1"}},
		{"a file of shorthand", []string{"--tunnel-id", "ID", "--client-mode", "ALL", "--destination-config", "@thingName=pi-46,services=SSH"}, []string{source, destination}, []string{"pi-46 SSH"}},
		{"cli-input-json", []string{"--cli-input-json", document}, []string{destination}, []string{"pi-45 SSH"}},
		{"cli-input-json from a file", []string{"--cli-input-json", "@" + document}, []string{destination}, []string{"pi-45 SSH"}},
		{"the command line wins", []string{"--cli-input-json", document, "--client-mode", "ALL", "--destination-config", "thingName=x,services=y"}, []string{source, destination}, []string{"x y"}},
		{"the thing with cli-input-json", []string{"--cli-input-json", `{"clientMode":"ALL"}`, "--thing", "pi-1"}, []string{source, destination}, []string{"pi-1 SSH+HTTP"}},
		{"cli-input-yaml", []string{"--cli-input-yaml", "tunnelId: ID\nclientMode: ALL\ndestinationConfig:\n  thingName: pi-47\n  services:\n  - SSH\n  - RDP\n"}, []string{source, destination}, []string{"pi-47 SSH+RDP"}},
		{"cli-input-yaml from a file", []string{"--cli-input-yaml", "@tunnelId: ID\nclientMode: SOURCE # no config"}, []string{source}, nil},
	}
	b := newBench(t, nil)
	id := b.open("pi-1").Tunnel.ID
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"rotate-tunnel-access-token"}
			for _, a := range tt.args {
				a = strings.ReplaceAll(a, "ID", id)
				if text, ok := strings.CutPrefix(a, "@"); ok {
					a = "file://" + file(t, text)
				}
				args = append(args, a)
			}
			out := b.object(args...)
			var tokens []string
			for _, k := range []string{source, destination} {
				if s, _ := out[k].(string); s != "" {
					tokens = append(tokens, k)
				}
			}
			told, _ := b.since()
			equal(t, "tokens", tt.tokens, tokens)
			equal(t, "told", tt.told, told)
		})
	}
}

func TestFillingInIsSaid(t *testing.T) {
	b := newBench(t, nil)
	id := b.open("pi-1").Tunnel.ID
	nobodys, err := b.store.Open(tunnels.OpenInput{})
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(id string, more ...string) (stderr string, code int) {
		_, stderr, code = culvert(t, append([]string{"rotate", "--tunnel-id", id, "--client-mode", "ALL", "--endpoint-url", b.url}, more...)...)
		return stderr, code
	}
	said, _ := rotate(id)
	equal(t, "filled in", "culvert: filled in --destination-config thingName=pi-1,services=SSH,HTTP from the tunnel, so that the device gets its new token; --no-fill stops it\n", said)
	said, _ = rotate(id, "--no-fill")
	equal(t, "--no-fill", "", said)
	said, _ = rotate(nobodys.Tunnel.ID)
	equal(t, "no thing", "culvert: the tunnel names no thing: give the new token to the destination yourself\n", said)
	fault := func(kind string) {
		if err := b.api.Fail(api.Fault{Operation: "DescribeTunnel", Type: kind, Count: 1}); err != nil {
			t.Fatal(err)
		}
	}
	fault("AccessDeniedException")
	said, code := rotate(id)
	if code != 0 || !strings.Contains(said, "iot:DescribeTunnel, which would tell it, is not allowed") {
		t.Errorf("exit %d, %q", code, said)
	}
	// Any other failure must not cut the device off: nothing is rotated.
	b.since()
	fault("InternalFailure")
	if said, code = rotate(id); code != 254 || !strings.Contains(said, "DescribeTunnel") {
		t.Errorf("exit %d, %q", code, said)
	}
	_, calls := b.since()
	equal(t, "calls", []string{"DescribeTunnel"}, calls)
}

func TestTheThingsNewestOpenTunnelIsMeant(t *testing.T) {
	b := newBench(t, nil)
	b.open("pi-1")
	newest := b.open("pi-1").Tunnel
	closed := b.open("pi-1").Tunnel
	if err := b.store.Close(closed.ID, false); err != nil {
		t.Fatal(err)
	}
	b.open("pi-2")
	out, errs, code := culvert(t, "describe", "--thing", "pi-1", "--endpoint-url", b.url, "--query", "tunnel.tunnelId", "--output", "text")
	if code != 0 || out != newest.ID+"\n" || !strings.HasPrefix(errs, "culvert: the newest open tunnel to pi-1 is "+newest.ID+", opened at 20") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	b.text("tag-resource", "--thing", "pi-1", "--tags", "key=a,value=b")
	equal(t, "tags", object{"tags": []any{object{"key": "a", "value": "b"}}}, b.object("list-tags-for-resource", "--thing", "pi-1"))
	b.text("untag-resource", "--thing", "pi-1", "--tag-keys", "a")
	b.text("close", "--thing", "pi-1")
	if state, err := b.store.Describe(newest.ID); err != nil || state.Status != tunnels.Closed {
		t.Errorf("after close: %v, %v", state.Status, err)
	}
}

func TestTokensGoToAFile(t *testing.T) {
	b := newBench(t, nil)
	path := filepath.Join(t.TempDir(), "tokens.json")
	read := func() (o object) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &o)
		}
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	out := b.object("open", "--destination-config", "thingName=pi-1,services=SSH", "--token-file", path)
	got := read()
	if len(out) != 2 || out["tunnelId"] == nil || len(got) != 5 || got["region"] != "eu-west-1" || got["tunnelId"] != out["tunnelId"] ||
		len(got["sourceAccessToken"].(string)) != 600 || len(got["destinationAccessToken"].(string)) != 600 {
		t.Errorf("printed %v, kept %v", out, got)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	equal(t, "printed", object{"tunnelArn": out["tunnelArn"]}, b.object("rotate", "--thing", "pi-1", "--client-mode", "SOURCE", "--token-file", path))
	if again := read(); again["sourceAccessToken"] == got["sourceAccessToken"] || again["destinationAccessToken"] != nil {
		t.Errorf("kept %v", again)
	}

	// A place that cannot be written to costs no token, and a call that fails leaves the file alone.
	b.since()
	_, errs, code := culvert(t, "open", "--endpoint-url", b.url, "--token-file", filepath.Join(t.TempDir(), "missing", "file"))
	if _, calls := b.since(); code != 255 || len(calls) != 0 || !strings.Contains(errs, "Cannot write the token file") {
		t.Errorf("exit %d, %s, calls %v", code, errs, calls)
	}
	before := read()
	if _, errs, code = culvert(t, "rotate", "--tunnel-id", "nope", "--client-mode", "SOURCE", "--endpoint-url", b.url, "--token-file", path); code != 254 {
		t.Errorf("exit %d, %s", code, errs)
	}
	equal(t, "after a failure", before, read())
	if rest, err := os.ReadDir(filepath.Dir(path)); err != nil || len(rest) != 1 {
		t.Errorf("left behind: %v, %v", rest, err)
	}
}

func TestPages(t *testing.T) {
	b := newBench(t, nil)
	var all []string // newest first
	for range 5 {
		all = append([]string{b.open("pi-1").Tunnel.ID}, all...)
	}
	b.open("pi-2")
	list := func(args ...string) (ids []string, next string) {
		t.Helper()
		o := b.object(append([]string{"list", "--thing-name", "pi-1"}, args...)...)
		for _, s := range o["tunnelSummaries"].([]any) {
			ids = append(ids, s.(object)["tunnelId"].(string))
		}
		next, _ = o["NextToken"].(string)
		if wire, ok := o["nextToken"].(string); ok {
			next = wire
		}
		return ids, next
	}
	ids, next := list("--page-size", "2")
	_, calls := b.since()
	equal(t, "all pages", all, ids)
	if next != "" || len(calls) != 3 {
		t.Errorf("next %q, %d calls", next, len(calls))
	}
	for _, size := range []string{"1", "2", "3", "5", "100"} {
		for _, most := range []string{"1", "2", "3", "5", "7"} {
			var got []string
			for token := ""; ; {
				ids, next := list("--page-size", size, "--max-items", most, "--starting-token", token)
				got = append(got, ids...)
				if token = next; token == "" || len(got) > 9 {
					break
				}
			}
			equal(t, "pages of "+size+", "+most+" at a time", all, got)
		}
	}
	ids, next = list("--max-results", "3")
	equal(t, "a page by hand", all[:3], ids)
	ids, _ = list("--next-token", next)
	equal(t, "the next by hand", all[3:], ids)
	ids, _ = list("--no-paginate")
	equal(t, "no pagination", all, ids)
}

func TestSkeletonsMakeNoCall(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"rotate", "--generate-cli-skeleton"}, "{\n    \"tunnelId\": \"\",\n    \"clientMode\": \"SOURCE\",\n    \"destinationConfig\": {\n" +
			"        \"thingName\": \"\",\n        \"services\": [\n            \"\"\n        ]\n    }\n}\n"},
		{[]string{"close", "--generate-cli-skeleton", "input"}, "{\n    \"tunnelId\": \"\",\n    \"delete\": true\n}\n"},
		{[]string{"list", "--generate-cli-skeleton=yaml-input"}, "thingName: ''  # only tunnels to this thing\nmaxResults: 0  # most tunnels in one page, 1 to 100\nnextToken: ''  # where the page before ended\n"},
		{[]string{"rotate", "--generate-cli-skeleton", "output", "--tunnel-id", "x", "--client-mode", "ALL", "--output", "text"}, "destinationAccessToken\tsourceAccessToken\ttunnelArn\n"},
		{[]string{"tag-resource", "--generate-cli-skeleton", "output", "--resource-arn", "x", "--tags", "key=a,value=b"}, ""},
	}
	for _, tt := range tests {
		out, errs, code := culvert(t, append(tt.args, "--endpoint-url", "http://127.0.0.1:1")...)
		if code != 0 || out != tt.want {
			t.Errorf("%v: exit %d, %s\n%s\nwant\n%s", tt.args, code, errs, out, tt.want)
		}
	}
	// What a skeleton is, is taken as input again.
	for _, op := range operations {
		out, errs, code := culvert(t, op.command, "--generate-cli-skeleton", "yaml-input")
		if code != 0 {
			t.Fatalf("%s: %s", op.command, errs)
		}
		out = strings.ReplaceAll(strings.ReplaceAll(out, "''", "x"), " 0 ", " 1 ")
		if _, errs, code = culvert(t, op.command, "--cli-input-yaml", out, "--generate-cli-skeleton", "output"); code != 0 {
			t.Errorf("%s: %s\n%s", op.command, errs, out)
		}
	}
}

func TestOutputOffPrintsNothing(t *testing.T) {
	b := newBench(t, nil)
	equal(t, "output", "", b.text("list", "--output", "off"))
	equal(t, "output", "null\n", b.text("list", "--query", "nope", "--cli-error-format", "json"))
}

// The service's time stamps have microseconds, as in the AWS CLI.
func TestTimeStampsKeepMicroseconds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"tunnelSummaries":[{"createdAt":1700000000.123456},{"createdAt":1700000000.5},{"createdAt":1700000000}]}`)
	}))
	defer server.Close()
	args := []string{"list-tunnels", "--endpoint-url", server.URL, "--query", "tunnelSummaries[].createdAt", "--output", "text"}
	want := "2023-11-14T22:13:20.123456+00:00\t2023-11-14T22:13:20.500000+00:00\t2023-11-14T22:13:20+00:00\n"
	out, errs, code := culvert(t, args...)
	if code != 0 || out != want {
		t.Errorf("exit %d, %q, %s", code, out, errs)
	}
	t.Setenv("AWS_CONFIG_FILE", file(t, "[default]\ncli_timestamp_format = wire\n"))
	if out, _, _ := culvert(t, args...); out != "1700000000.123456\t1700000000.5\t1700000000\n" {
		t.Errorf("wire: %q", out)
	}
	if aws := awsCLI(t); aws != nil {
		theirs, _, _ := aws(args...)
		equal(t, "wire", theirs, "1700000000.123456\t1700000000.5\t1700000000\n")
		t.Setenv("AWS_CONFIG_FILE", "/dev/null")
		theirs, _, _ = aws(args...)
		equal(t, "iso8601", theirs, want)
	}
}
