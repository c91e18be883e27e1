package awscli

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// awsCLI finds the AWS CLI, version 2, and returns a function that runs "aws iotsecuretunneling".
func awsCLI(t *testing.T) func(args ...string) (stdout, stderr string, code int) {
	t.Helper()
	if testing.Short() {
		t.Skip("the AWS CLI takes its time")
	}
	for _, path := range []string{"/usr/bin/aws", "/usr/local/bin/aws"} {
		out, err := exec.CommandContext(t.Context(), path, "--version").Output()
		if err != nil || !strings.HasPrefix(string(out), "aws-cli/2.") {
			continue
		}
		return func(args ...string) (string, string, int) {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), path, append([]string{"iotsecuretunneling"}, args...)...)
			cmd.Env = append(os.Environ(), "AWS_DEFAULT_REGION=eu-west-1", "AWS_PAGER=", "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8")
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return out.String(), errs.String(), exit.ExitCode()
			}
			if err != nil {
				t.Fatal(err)
			}
			return out.String(), errs.String(), 0
		}
	}
	if os.Getenv("CULVERT_E2E") == "required" {
		t.Fatal("the AWS CLI, version 2, is not installed")
	}
	t.Skip("the AWS CLI, version 2, is not installed")
	return nil
}

// forms are those that the AWS CLI of the tests has, too.
var forms = slices.DeleteFunc(slices.Clone(output.Forms), func(f string) bool { return f == "off" })

// sample picks a few of many, unless the run wants all, as "make aws" does: the AWS CLI takes most of a second to
// start.
func sample[T any](all []T) (few []T) {
	if os.Getenv("CULVERT_AWSCLI") == "all" {
		return all
	}
	for i := 0; i < len(all); i += 6 {
		few = append(few, all[i])
	}
	return few
}

// For everything that can be asked twice with the same answer, the AWS CLI and culvert print the same bytes and end
// with the same code.
func TestSideBySideWithTheAWSCLI(t *testing.T) {
	t.Parallel()
	aws := awsCLI(t)
	b := newBench(t, nil)
	opened, err := b.store.Open(tunnels.OpenInput{
		Description: "Käthe's: 50 %", Tags: []tunnels.Tag{{Key: "a", Value: "b"}, {Key: "c d", Value: ""}},
		Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH", "HTTP"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id, arn := opened.Tunnel.ID, opened.Tunnel.ARN
	tagged := b.open("pi-1").Tunnel.ARN // not that of others: all run at once
	closed := b.open("pi-1").Tunnel.ID
	if err := b.store.Close(closed, false); err != nil {
		t.Fatal(err)
	}
	var tests [][]string
	for _, form := range forms {
		tests = append(tests, [][]string{
			{"describe-tunnel", "--tunnel-id", id, "--output", form},
			{"list-tunnels", "--output", form},
			{"list-tags-for-resource", "--resource-arn", arn, "--output", form},
			{"close-tunnel", "--tunnel-id", closed, "--output", form}, // prints nothing, as the next two
		}...)
	}
	tests = append(tests, []string{"tag-resource", "--resource-arn", tagged, "--tags", "key=x,value=y"},
		[]string{"untag-resource", "--resource-arn", tagged, "--tag-keys", "x", "z"})
	for _, op := range operations {
		tests = append(tests, []string{op.command, "--generate-cli-skeleton"})
	}
	tests = append(tests, []string{"open-tunnel", "--generate-cli-skeleton", "output", "--output", "table"},
		[]string{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "ALL", "--generate-cli-skeleton", "output"})
	tests = append(tests, [][]string{
		{"list-tunnels", "--query", "tunnelSummaries[?status==`OPEN`].{state: status, id: tunnelId}"},
		{"describe-tunnel", "--tunnel-id", id, "--output", "table", "--query", "tunnel.destinationConfig"},
		{"list-tunnels", "--thing-name", "pi-1", "--max-results", "1", "--query", "length(tunnelSummaries)"},
		{"list-tunnels", "--query", "tunnelSummaries[0].[tunnelId,status]", "--output", "text"},
		{"list-tunnels", "--query", "nope"},
		{"rotate-tunnel-access-token"},
		{"rotate-tunnel-access-token", "--tunnel-id", closed, "--client-mode", "SOURCE"},
		{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "BOTH"},
		{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "SOURCE", "--destination-config", "services=SSH"},
		{"rotate-tunnel-access-token", "--cli-input-json", `{"tunnelId":"x"}`},
		{"rotate-tunnel-access-token", "--cli-input-json", "{}", "--cli-input-yaml", "{}"},
		{"describe-tunnel", "--tunnel-id", "nope"},
		{"describe-tunnel", "--unknown"},
		{"open-tunnel", "--destination-config", "services=a,b,c,d"},
		{"open-tunnel", "--destination-config", "thingName"},
		{"list-tunnels", "--output", "xml"},
		{"list-tunnels", "--query", "["},
		{"list-tunnels", "--no-sign-request"},
		{"list-tunnels", "--region", "us-west-2"},
		{"list-tunnels", "--endpoint-url", "localhost"},
		{"describe-tunnel", "--tunnel-id", id, "--query", "tunnel.{b: tunnelId, a: status}"},
	}...)
	tests = append(tests, refused...)
	for _, args := range sample(tests) {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			if !slices.Contains(args, "--endpoint-url") {
				args = append(args, "--endpoint-url", b.url)
			}
			wantOut, wantErrs, wantCode := aws(args...)
			out, errs, code := culvert(t, args...)
			if code != wantCode {
				t.Errorf("exit %d, the AWS CLI %d\nculvert: %s\naws: %s", code, wantCode, errs, wantErrs)
			}
			equal(t, "output", wantOut, out)
			// What scripts look for in an error of the service is there, too.
			if kind, _, ok := strings.Cut(strings.TrimSpace(wantErrs), ")"); ok && code == 254 && !strings.Contains(errs, kind+") when calling the ") {
				t.Errorf("no %q in %s", kind, errs)
			}
		})
	}
}

// A query's results are those of the AWS CLI. All go into one, because the AWS CLI takes most of a second to start.
func TestQueriesSideBySideWithTheAWSCLI(t *testing.T) {
	aws := awsCLI(t)
	b := newBench(t, nil)
	for _, d := range []string{"b", "a", "Z", "é"} {
		if _, err := b.store.Open(tunnels.OpenInput{Description: d, Tags: []tunnels.Tag{{Key: d, Value: "v"}}}); err != nil {
			t.Fatal(err)
		}
	}
	queries := strings.Fields("tunnelSummaries[?createdAt<'2024-01-01'].tunnelId tunnelSummaries[?createdAt>'2024-01-01'].tunnelId " +
		"tunnelSummaries[?description>='a'].description tunnelSummaries[?createdAt<nope] `1`<nope " +
		"avg(`[]`) avg(`[1,2]`) avg(`[2,4]`) `5.0` `5` `1e3` `12345678901234567890.5` `0.00001` sum(`[1,2]`) sum(`[1,2.0]`) sum(`[]`) " +
		"ceil(`1.2`) floor(`-1.2`) ceil(`3`) abs(`-5`) abs(`-5.5`) to_number('7') to_number('7.0') to_number('x') to_number(`[1]`) " +
		"max(tunnelSummaries[].description) min(tunnelSummaries[].description) sort(tunnelSummaries[].description) max(`[]`) max(`[1,2.5]`) " +
		"sort_by(tunnelSummaries,&description)[].description max_by(tunnelSummaries,&createdAt).description min_by(`[]`,&a) " +
		"reverse(sort_by(tunnelSummaries,&createdAt))[*].description reverse('aé') length('éa') length(tunnelSummaries) " +
		"keys(tunnelSummaries[0]) values({b:'1',a:'2'}) merge({b:'1',a:'2'},{b:'3',c:'4'}) {z:'1',a:{y:'2',b:'3'}} " +
		"to_string({a:`1.0`,b:'é\"',c:[`true`,`null`]}) to_string('x') type(`1.0`) type(@) not_null(nope,'x') not_null(nope) to_array('x') " +
		"contains('abc','b') contains(`[1,\"a\"]`,`1.0`) starts_with('abc','a') ends_with('abc','c') join('-',`[\"a\",\"b\"]`) " +
		"map(&description,tunnelSummaries) map(&nope,tunnelSummaries) `1`==`1.0` `1`==`true` `[1]`==`[1.0]` {a:'1',b:'2'}=={b:'2',a:'1'} '1'!=`1` " +
		"nope.[a,b] nope.{a:b} tunnelSummaries[0].[tunnelId,nope] !`0` !'' !`[]` nope||'x' `0`||'x' 'a'&&nope tunnelSummaries[-1].description " +
		"tunnelSummaries[::-1].description tunnelSummaries[1:3].description tunnelSummaries[-2:].description tunnelSummaries[9].a `[0,1,2,3,4]`[::2] `[0,1,2]`[5:0:-2] " +
		"`[[1],[2,[3]],4]`[] {a:{b:`1`},c:{b:`2`}}.*.b (tunnelSummaries[].description|[0]) (tunnelSummaries[?status==`OPEN`]|length(@)) \"tunnelSummaries\"[0].status `foo` 'raw`s' `\"q\"` @.nope")
	args := []string{"list-tunnels", "--endpoint-url", b.url, "--query", "[" + strings.Join(queries, ",") + "]"}
	wantOut, wantErrs, code := aws(args...)
	if code != 0 {
		t.Fatalf("aws: exit %d, %s", code, wantErrs)
	}
	out, errs, code := culvert(t, args...)
	if code != 0 {
		t.Fatalf("exit %d, %s", code, errs)
	}
	equal(t, "output", wantOut, out)
	var values []any
	if err := json.Unmarshal([]byte(out), &values); err != nil || len(values) != len(queries) {
		t.Errorf("%d results of %d queries: %v", len(values), len(queries), err)
	}
}

// Rotations give new tokens each time: their shape is compared, and the device's notification.
func TestRotatingSideBySideWithTheAWSCLI(t *testing.T) {
	aws := awsCLI(t)
	b := newBench(t, nil)
	id := b.open("pi-1").Tunnel.ID
	tests := [][]string{
		{"--tunnel-id", id, "--client-mode", "SOURCE"},
		{"--tunnel-id", id, "--client-mode", "ALL", "--destination-config", "thingName=pi-2,services=SSH,RDP"},
		{"--tunnel-id", id, "--client-mode", "DESTINATION", "--destination-config", `{"thingName":"pi-3","services":["SSH"]}`},
		{"--tunnel-id", id, "--client-mode", "DESTINATION", "--destination-config", "services=SSH"},
		{"--cli-input-json", `{"tunnelId":"` + id + `","clientMode":"ALL","destinationConfig":{"thingName":"pi-4","services":["SSH"]}}`, "--client-mode", "DESTINATION"},
		{"--cli-input-yaml", "tunnelId: " + id + "\nclientMode: ALL\ndestinationConfig: {thingName: pi-5, services: [SSH, VNC]}\n"},
		{"--cli-input-json", "file://" + file(t, `{"tunnelId":"`+id+`","clientMode":"SOURCE"}`), "--output", "yaml"},
	}
	for _, args := range sample(tests) {
		args := append([]string{"rotate-tunnel-access-token", "--endpoint-url", b.url}, args...)
		wantOut, errs, code := aws(args...)
		if code != 0 {
			t.Fatalf("aws %v: %s", args, errs)
		}
		wantTold, _ := b.since()
		out, errs, code := culvert(t, args...)
		if code != 0 {
			t.Fatalf("culvert %v: %s", args, errs)
		}
		told, _ := b.since()
		equal(t, strings.Join(args, " ")+": told", wantTold, told)
		equal(t, strings.Join(args, " "), lengths(t, wantOut), lengths(t, out))
	}
}

// What is different in each answer has always the same length, so that all else can be compared to the byte.
var everNew = map[string]*regexp.Regexp{
	strings.Repeat("T", 600): regexp.MustCompile(`\b[A-Za-z0-9_-]{600}`),
	strings.Repeat("I", 36):  regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`),
}

// The answers with tokens, in every form, and with them the global options that must not change an answer.
func TestTokensSideBySideWithTheAWSCLI(t *testing.T) {
	aws := awsCLI(t)
	b := newBench(t, nil)
	secure := httptest.NewTLSServer(b.api)
	defer secure.Close()
	roots := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	t.Setenv("AWS_CONFIG_FILE", file(t, "[profile p]\nregion = us-west-2\noutput = yaml\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n"))
	id := b.open("pi-1").Tunnel.ID
	globals := map[string][]string{
		"json":        {"--profile", "p", "--region", "eu-west-1", "--debug", "--endpoint-url", b.url},
		"text":        {"--ca-bundle", roots, "--cli-read-timeout", "0", "--cli-connect-timeout", "0", "--endpoint-url", secure.URL},
		"table":       {"--color", "off", "--no-paginate", "--no-cli-pager", "--endpoint-url", b.url},
		"yaml":        {"--no-verify-ssl", "--cli-binary-format", "raw-in-base64-out", "--no-cli-auto-prompt", "--endpoint-url", secure.URL},
		"yaml-stream": {"--query", "[tunnelArn, {source: sourceAccessToken}]", "--endpoint-url", b.url},
	}
	for _, form := range sample(forms) {
		for _, args := range [][]string{
			append([]string{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "ALL", "--destination-config", "thingName=pi-1,services=SSH", "--output", form}, globals[form]...),
			{"open-tunnel", "--destination-config", "thingName=pi-1,services=SSH", "--output", form, "--endpoint-url", b.url},
		} {
			t.Run(args[0]+" in "+form, func(t *testing.T) {
				theirs, wantErrs, wantCode := aws(args...)
				ours, errs, code := culvert(t, args...)
				if wantCode != 0 || code != 0 {
					t.Fatalf("exit %d, the AWS CLI %d\nculvert: %s\naws: %s", code, wantCode, errs, wantErrs)
				}
				for same, form := range everNew {
					theirs, ours = form.ReplaceAllString(theirs, same), form.ReplaceAllString(ours, same)
				}
				equal(t, "output", theirs, ours)
				if !strings.Contains(ours, strings.Repeat("T", 600)) {
					t.Errorf("no token in %s", ours)
				}
			})
		}
	}
}

// lengths replaces the strings of a document by their lengths.
func lengths(t *testing.T, text string) map[string]int {
	t.Helper()
	var o map[string]string
	if json.Unmarshal([]byte(text), &o) != nil {
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]int{}
	for k, v := range o {
		out[k] = len(v)
	}
	return out
}

// The samples in YAML differ in their comments alone.
func TestYAMLSkeletonsSideBySideWithTheAWSCLI(t *testing.T) {
	t.Parallel()
	aws := awsCLI(t)
	for _, op := range sample(operations) {
		t.Run(op.command, func(t *testing.T) {
			t.Parallel()
			theirs, _, _ := aws(op.command, "--generate-cli-skeleton", "yaml-input")
			ours, _, _ := culvert(t, op.command, "--generate-cli-skeleton", "yaml-input")
			var want, got any
			if err := errors.Join(yaml.Unmarshal([]byte(theirs), &want), yaml.Unmarshal([]byte(ours), &got)); err != nil || want == nil || !cmp.Equal(want, got) {
				t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(want, got))
			}
		})
	}
}
