package awscli

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox/api"
)

// Wrong usage is reported before anything is sent.
func TestWrongUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"nothing that is needed", []string{"rotate"}, "the following arguments are required: --tunnel-id, --client-mode"},
		{"half of what is needed", []string{"rotate", "--thing", "x"}, "the following arguments are required: --client-mode"},
		{"neither tunnel nor thing", []string{"close"}, "required: --tunnel-id\nhint: --thing NAME can stand for --tunnel-id; culvert close-tunnel --help\n"},
		{"a resource that is a tunnel", []string{"tag-resource", "--tags", "key=a,value=b"}, "required: --resource-arn\nhint: --thing NAME can stand for --resource-arn; culvert tag-resource --help\n"},
		{"no mode", []string{"rotate", "--thing", "x"}, "\nhint: --client-mode takes SOURCE, DESTINATION or ALL; culvert rotate-tunnel-access-token --help\n"},
		{"nothing at all", []string{"rotate"}, "\nhint: --thing NAME can stand for --tunnel-id; --client-mode takes SOURCE, DESTINATION or ALL; culvert rotate"},
		{"a thing without its key", []string{"open", "--destination-config", "pi-1"}, "at character 5 of: pi-1\nhint: write --destination-config thingName=pi-1,services=SSH; culvert open-tunnel --help\n"},
		{"minutes without their key", []string{"open", "--timeout-config", "60"}, "\nhint: write --timeout-config maxLifetimeTimeoutMinutes=60; culvert open-tunnel --help\n"},
		{"a tag without its keys", []string{"open", "--tags", "team"}, "\nhint: write --tags key=team,value=VALUE; culvert open-tunnel --help\n"},
		{"a thing and its services without keys", []string{"open", "--destination-config", "pi-1,SSH"}, "\nhint: write --destination-config thingName=NAME,services=SSH; culvert open-tunnel --help\n"},
		{"an unknown option", []string{"describe", "--tunel-id", "x"}, "unknown flag: --tunel-id"},
		{"an argument", []string{"describe", "x"}, "Unknown options: x"},
		{"two inputs", []string{"describe", "--cli-input-json", "{}", "--cli-input-yaml", "{}"}, "Only one --cli-input- parameter may be specified"},
		{"an input without what is needed", []string{"describe", "--cli-input-json", "{}"}, `Missing required parameter in input: "tunnelId"`},
		{"an input with more", []string{"describe", "--cli-input-json", `{"tunnelId":"x","y":1}`}, `Unknown parameter in input: "y", must be one of: tunnelId`},
		{"an input of other types", []string{"open", "--cli-input-yaml", "{description: 1, tags: {}, timeoutConfig: [], destinationConfig: {services: [1]}}"}, "Invalid type for parameter description: a string is needed, not a number; Invalid type for parameter tags: a list is needed, not an object; " +
			"Invalid type for parameter destinationConfig.services[0]: a string is needed, not a number; Invalid type for parameter timeoutConfig: an object is needed, not a list"},
		{"an input of a fraction", []string{"list", "--cli-input-json", `{"maxResults":1.5}`}, "1.5 is not an integer"},
		{"an input of a fraction in YAML", []string{"list", "--cli-input-yaml", `maxResults: 1.5`}, "Invalid type for parameter maxResults: an integer is needed, not a number"},
		{"an input that is no JSON", []string{"describe", "--cli-input-json", "{"}, "Error parsing parameter 'cli-input-json': invalid JSON"},
		{"an input with a tail", []string{"describe", "--cli-input-json", "{} {}"}, "text follows it"},
		{"an input that is no YAML", []string{"describe", "--cli-input-yaml", "a: ["}, "Error parsing parameter 'cli-input-yaml': invalid YAML"},
		{"an input that is a list", []string{"describe", "--cli-input-json", "[]"}, "an object is needed, not a list"},
		{"an input that is not there", []string{"describe", "--cli-input-json", "file://" + missing}, "unable to load paramfile file://" + missing},
		{"a parameter that is not there", []string{"open", "--description", "file://" + missing}, "Error parsing parameter '--description': unable to load paramfile"},
		{"shorthand that is none", []string{"open", "--destination-config", "thingName"}, "Error parsing parameter '--destination-config': expected: '='"},
		{"no services", []string{"open", "--destination-config", "thingName=x"}, `Missing required parameter in destinationConfig: "services"`},
		{"a tag without a value", []string{"open", "--tags", "key=a"}, `Missing required parameter in tags[0]: "value"`},
		{"minutes that are none", []string{"open", "--timeout-config", "maxLifetimeTimeoutMinutes=x"}, `maxLifetimeTimeoutMinutes: "x" is not an integer`},
		{"no minutes", []string{"open", "--timeout-config", "maxLifetimeTimeoutMinutes=0"}, "value: 0, valid min value: 1"},
		{"a number that is none", []string{"list", "--max-results", "x"}, `Error parsing parameter '--max-results': "x" is not an integer`},
		{"a thing and a tunnel", []string{"close", "--thing", "a", "--tunnel-id", "b"}, "--thing and --tunnel-id cannot both be given"},
		{"delete and not", []string{"close", "--tunnel-id", "b", "--delete", "--no-delete"}, "--delete and --no-delete cannot both be given"},
		{"pages both ways", []string{"list", "--max-items", "1", "--no-paginate"}, "cannot be given with --no-paginate"},
		{"a place that is none", []string{"list", "--starting-token", "x"}, "Bad starting token: x"},
		{"an output that is none", []string{"list", "--output", "xml"}, `argument --output: Invalid choice "xml", valid choices are: json, text, table, yaml, yaml-stream`},
		{"a colour that is none", []string{"list", "--color", "red"}, "argument --color: Invalid choice"},
		{"a binary format that is none", []string{"list", "--cli-binary-format", "hex"}, "argument --cli-binary-format: Invalid choice"},
		{"a skeleton that is none", []string{"list", "--generate-cli-skeleton", "xml"}, "argument --generate-cli-skeleton: Invalid choice"},
		{"a query that is none", []string{"list", "--query", "["}, "Bad value for --query ["},
		{"a query that cannot be", []string{"list", "--query", "nope("}, "Bad value for --query nope("},
		{"a time that is none", []string{"list", "--cli-read-timeout", "x"}, `invalid argument "x" for "--cli-read-timeout"`},
		{"a negative time", []string{"list", "--cli-connect-timeout", "-1"}, "seconds, 0 for no limit"},
		{"to ask and not", []string{"list", "--cli-auto-prompt", "--no-cli-auto-prompt"}, "cannot be specified at the same time"},
		{"an endpoint that is none", []string{"list", "--endpoint-url", "localhost:80"}, `Bad value for --endpoint-url "localhost:80"`},
		{"tokens to standard output", []string{"open", "--token-file", "-"}, "without it the tokens are printed"},
		{"tokens to a directory", []string{"open", "--token-file", t.TempDir()}, "it is not a regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if !strings.Contains(strings.Join(args, " "), "--endpoint-url") {
				args = append(args, "--endpoint-url", "http://127.0.0.1:1")
			}
			out, errs, code := culvert(t, args...)
			if code != 252 || out != "" || !strings.HasPrefix(errs, "error: ") || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 2 || !strings.Contains(errs, " --help\n") {
				t.Errorf("exit %d, %q, want 252 with %q and a hint", code, errs, tt.want)
			}
		})
	}
}

// refused are command lines that the AWS CLI refuses, although each looks as if it could be sent.
var refused = [][]string{
	{"close-tunnel", "--tunnel-id", "--delete"},
	{"open-tunnel", "--description", "-foo"},
	{"untag-resource", "--resource-arn", "x", "--tag-keys", ""},
	{"untag-resource", "--resource-arn", "x", "--tag-keys", "a", ""},
	{"list-tunnels", "--query", ""},
	{"list-tunnels", "--query", "length(@) + `1`"},
	{"open-tunnel", "--destination-config", `services=a\"b`},
	{"open-tunnel", "--destination-config", `services=a,b"c`},
	{"open-tunnel", "--destination-config", "services=a]b"},
	{"open-tunnel", "--destination-config", "services==a"},
	{"open-tunnel", "--destination-config", "services=a,[b"},
	{"list-tunnels", "--cli-input-yaml", "thingName: a\n---\nthingName: b\n"},
	{"open-tunnel", "--tags", ""},
	{"open-tunnel", "--tags"},
}

func TestWhatTheAWSCLIRefusesIsNotSent(t *testing.T) {
	b := newBench(t, nil)
	for _, args := range append(refused, []string{"list-tunnels", "--region", "eu west-1"}, []string{"list-tunnels", "--region", "eu-west-1 "}) {
		out, errs, code := culvert(t, append(args, "--endpoint-url", b.url)...)
		if _, calls := b.since(); code != 252 || out != "" || len(calls) > 0 {
			t.Errorf("%q: exit %d, calls %v, %q, %s", args, code, calls, out, errs)
		}
	}
	// What looks odd and is right.
	for _, args := range [][]string{
		{"open-tunnel", "--description", "- a", "--tags", "key=a,value=-1"},
		{"open-tunnel", "--description", "-1"},
		{"open-tunnel", "--description=--foo"},
		{"open-tunnel", "--tags", "key='a b',value=\"\""},
	} {
		if _, errs, code := culvert(t, append(args, "--endpoint-url", b.url)...); code != 0 {
			t.Errorf("%q: exit %d, %s", args, code, errs)
		}
	}
	t.Setenv("AWS_REGION", "eu west-1")
	_, errs, code := culvert(t, "list-tunnels", "--endpoint-url", b.url)
	if _, calls := b.since(); code != 253 || !strings.Contains(errs, `region "eu west-1"`) || calls[len(calls)-1] != "OpenTunnel" {
		t.Errorf("a region of the environment: exit %d, %s, calls %v", code, errs, calls)
	}
}

// A program that prints a warning before its JSON must not have its secrets in an error.
func TestTheOutputOfAProgramIsNotShown(t *testing.T) {
	b := newBench(t, nil)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	credentials := `{"Version":1,"AccessKeyId":"AKIAHIDDEN","SecretAccessKey":"hidden1","SessionToken":"hidden2"`
	for name, tt := range map[string]struct{ script, want string }{
		"a warning first":     {"echo careful; echo '" + credentials + "}'", "printed something other than the JSON of credentials"},
		"cut":                 {"echo '" + credentials + "'", "printed something other than the JSON of credentials"},
		"a time that is none": {"echo '" + credentials + `,"Expiration":"hidden3"}'`, "printed something other than the JSON of credentials"},
		"a failure":           {"echo hidden4; exit 3", "the credential_process failed: exit status 3"},
		"no key":              {`echo '{"Version":1,"SecretAccessKey":"hidden1"}'`, "missing AccessKeyId in process output"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_CONFIG_FILE", file(t, "[default]\ncredential_process = sh "+file(t, tt.script)+"\n"))
			_, errs, code := culvert(t, "list", "--endpoint-url", b.url)
			if code != 253 || !strings.Contains(errs, tt.want) || strings.Contains(strings.ToLower(errs), "hidden") {
				t.Errorf("exit %d, want %q in\n%s", code, tt.want, errs)
			}
		})
	}
}

func TestErrorsOfTheService(t *testing.T) {
	b := newBench(t, nil)
	id := b.open("pi-1").Tunnel.ID
	closed := b.open("pi-1").Tunnel
	if err := b.store.Close(closed.ID, false); err != nil {
		t.Fatal(err)
	}
	b.open("pi-3")
	gone := b.open("pi-4").Tunnel
	if err := b.store.Close(gone.ID, false); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		fault string // played by the API
		args  []string
		want  []string
	}{
		{"an unknown tunnel", "", []string{"describe", "--tunnel-id", "nope"}, []string{"An error occurred (ResourceNotFoundException) when calling the DescribeTunnel operation: ", "hint: the tunnel is closed, or not of this region and account"}},
		{"a closed tunnel", "", []string{"rotate", "--tunnel-id", closed.ID, "--client-mode", "ALL"}, []string{"(ResourceNotFoundException) when calling the RotateTunnelAccessToken operation: ", "hint: the tunnel is closed"}},
		{"an unknown thing", "", []string{"rotate", "--thing", "pi-2", "--client-mode", "ALL"}, []string{"There is no open tunnel to the thing pi-2\n", "hint: check the name and --region, or open one: culvert open-tunnel --destination-config thingName=pi-2,services=SSH"}},
		{"a thing with closed tunnels", "", []string{"describe", "--thing", "pi-4"}, []string{"There is no open tunnel to the thing pi-4, only 1 closed\n"}},
		{"a limit", "", []string{"open", "--destination-config", "services=a,b,c,d"}, []string{"(LimitExceededException) when calling the OpenTunnel operation: ", "hint: close tunnels that are not needed"}},
		{"a configuration for the source", "", []string{"rotate", "--tunnel-id", id, "--client-mode", "SOURCE", "--destination-config", "services=SSH"}, []string{"(ValidationException)", "SOURCE", "hint: omit --destination-config"}},
		{"an unknown mode", "", []string{"rotate", "--tunnel-id", id, "--client-mode", "BOTH"}, []string{"(ValidationException) when calling the RotateTunnelAccessToken operation: "}},
		{"expired credentials", "ExpiredTokenException", []string{"list"}, []string{"(ExpiredTokenException) when calling the ListTunnels operation: ", "hint: the credentials have expired: get new ones, for example with: aws sso login"}},
		{"unknown credentials", "UnrecognizedClientException", []string{"list"}, []string{"(UnrecognizedClientException)", "hint: AWS does not know these credentials"}},
		{"what is not allowed", "AccessDeniedException", []string{"list"}, []string{"(AccessDeniedException)", "hint: the IAM policy must allow iot:ListTunnels"}},
		{"another region", "", []string{"list", "--region", "us-west-2"}, []string{"(InvalidSignatureException)", "hint: check the secret access key, this machine's clock, and that --region is the endpoint's"}},
		{"no signature", "", []string{"list", "--no-sign-request"}, []string{"(MissingAuthenticationTokenException)", "hint: this endpoint takes signed calls only"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fault != "" {
				if err := b.api.Fail(api.Fault{Type: tt.fault, Message: "no"}); err != nil {
					t.Fatal(err)
				}
			}
			out, errs, code := culvert(t, append(tt.args, "--endpoint-url", b.url)...)
			if code != 254 || out != "" || strings.Count(errs, "\n") > 2 {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in\n%s", want, errs)
				}
			}
		})
	}
	t.Run("too many calls", func(t *testing.T) {
		t.Setenv("AWS_MAX_ATTEMPTS", "1")
		b.api.Throttle(1)
		if _, errs, code := culvert(t, "list", "--endpoint-url", b.url); code != 254 || !strings.Contains(errs, "hint: there were too many calls") {
			t.Errorf("exit %d, %q", code, errs)
		}
	})
}

func TestErrorsOfConfiguration(t *testing.T) {
	b := newBench(t, nil)
	noPEM, missing := file(t, "no certificate"), filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name   string
		env    map[string]string
		config string
		args   []string
		want   []string
	}{
		{"a wrong profile", nil, "[profile other]\nregion = x\n", []string{"--profile", "nope"}, []string{"The config profile (nope) could not be found\n", "hint: check --profile and AWS_PROFILE"}},
		{"a wrong profile of the environment", map[string]string{"AWS_PROFILE": "nope"}, "", nil, []string{"The config profile (nope) could not be found\n"}},
		{"no region", map[string]string{"AWS_REGION": ""}, "", nil, []string{"You must specify a region\n", "hint: give --region, set AWS_REGION, or run: aws configure\n"}},
		{"no credentials", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "", nil, []string{"Unable to locate credentials\n", "hint: give --profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run: aws configure\n"}},
		{
			"a program that gives no credentials",
			map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
			"[default]\ncredential_process = false\n", nil,
			[]string{"Unable to get credentials: ", "hint: check the profile in use"},
		},
		{
			"no SSO session", nil, "[profile sso]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://x.test/start\n",
			[]string{"--profile", "sso"},
			[]string{"The SSO session has expired or is not there\n", "hint: run: aws sso login"},
		},
		{"an output that is none", map[string]string{"AWS_DEFAULT_OUTPUT": "xml"}, "", nil, []string{"Unknown output type: xml\n", "hint: AWS_DEFAULT_OUTPUT and output in the profile are one of json, text"}},
		{"an output in the profile that is none", nil, "[default]\noutput = xml\n", nil, []string{"Unknown output type: xml\n"}},
		{"authorities that are not there", nil, "", []string{"--ca-bundle", missing}, []string{"CA bundle " + missing + " (--ca-bundle): ", "hint: --ca-bundle takes a file of certificates in PEM form\n"}},
		{"authorities of the environment that are not there", map[string]string{"AWS_CA_BUNDLE": missing}, "", nil, []string{"CA bundle " + missing + " (AWS_CA_BUNDLE): ", "hint: AWS_CA_BUNDLE takes"}},
		{"authorities of the profile that are not there", nil, "[default]\nca_bundle = " + missing + "\n", nil, []string{"CA bundle " + missing + " (the profile's ca_bundle): "}},
		{"authorities that are none", nil, "", []string{"--ca-bundle", noPEM}, []string{"CA bundle " + noPEM + " (--ca-bundle): there is no certificate in PEM form in it\n"}},
		{"a region that is no name", map[string]string{"AWS_REGION": "a/b"}, "", nil, []string{`no endpoint: region "a/b": only a-z`, "hint: check --region, AWS_REGION and the profile's region"}},
		{"a URL of the environment that is none", map[string]string{"AWS_ENDPOINT_URL": "localhost"}, "", nil, []string{"invalid endpoint: localhost: ", "hint: check --endpoint-url, AWS_ENDPOINT_URL_IOTSECURETUNNELING and AWS_ENDPOINT_URL"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			t.Setenv("AWS_CONFIG_FILE", file(t, tt.config))
			args := append([]string{"list"}, tt.args...)
			if tt.env["AWS_ENDPOINT_URL"] == "" && tt.env["AWS_REGION"] != "a/b" {
				args = append(args, "--endpoint-url", b.url)
			}
			out, errs, code := culvert(t, args...)
			if code != 253 || out != "" || strings.Count(errs, "\n") != 2 {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in\n%s", want, errs)
				}
			}
		})
	}
}

func TestErrorsOfTheNetwork(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	b := newBench(t, nil)
	secure := httptest.NewUnstartedServer(b.api)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hangsUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	defer hangsUp.Close()
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	tests := []struct {
		name, url string
		args      []string
		code      int
		want      []string
	}{
		{"nothing listens", "http://127.0.0.1:1", nil, 255, []string{`Could not connect to the endpoint URL "http://127.0.0.1:1/": `, "hint: nothing listens there: check --endpoint-url"}},
		{"no such host", "http://nowhere.invalid", nil, 255, []string{`Could not connect to the endpoint URL "http://nowhere.invalid/": `, "hint: "}},
		{"a wrong certificate", secure.URL, nil, 255, []string{"SSL validation failed for " + secure.URL, "hint: give the endpoint's certificate authority with --ca-bundle or AWS_CA_BUNDLE"}},
		{"TLS where there is none", strings.Replace(b.url, "http:", "https:", 1), nil, 255, []string{"hint: this endpoint does not speak TLS: write http:// in --endpoint-url\n"}},
		{"no answer in time", "http://" + silent.Addr().String(), []string{"--cli-read-timeout", "1"}, 255, []string{"hint: nothing answered in time"}},
		{"a connection that breaks", hangsUp.URL, nil, 255, []string{"hint: the connection broke: try again"}},
		{"something else", page.URL, nil, 254, []string{"(UnknownError) when calling the ListTunnels operation: the response is not an error of the service: HTTP status 404", "hint: something other than the service answered"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := culvert(t, append([]string{"list", "--endpoint-url", tt.url}, tt.args...)...)
			if code != tt.code || out != "" || strings.Count(errs, "\n") != 2 {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in\n%s", want, errs)
				}
			}
		})
	}

	bundle := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	if _, errs, code := culvert(t, "list", "--endpoint-url", secure.URL, "--ca-bundle", bundle, "--cli-read-timeout", "0", "--cli-connect-timeout", "0"); code != 0 || errs != "" {
		t.Errorf("--ca-bundle: exit %d, %q", code, errs)
	}
	if _, errs, code := culvert(t, "list", "--endpoint-url", secure.URL, "--no-verify-ssl"); code != 0 || !strings.Contains(errs, "certificates are not checked") {
		t.Errorf("--no-verify-ssl: exit %d, %q", code, errs)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if _, errs, code := culvert(t, "list", "--endpoint-url", secure.URL); code != 0 {
		t.Errorf("AWS_CA_BUNDLE: exit %d, %q", code, errs)
	}
}

// The environment and the shared files mean what they mean to the AWS CLI.
func TestEnvironmentAndFiles(t *testing.T) {
	b := newBench(t, func(c *api.Config) { c.AllowUnsigned = true })
	b.open("pi-1")
	t.Setenv("AWS_ENDPOINT_URL_IOTSECURETUNNELING", b.url)
	list := []string{"list", "--query", "length(tunnelSummaries)"}
	check := func(what, want string, args ...string) {
		t.Helper()
		if out, errs, code := culvert(t, append(args, list...)...); code != 0 || out != want {
			t.Errorf("%s: exit %d, %q, %s", what, code, out, errs)
		}
	}
	check("AWS_ENDPOINT_URL_IOTSECURETUNNELING", "1\n")
	t.Setenv("AWS_CONFIG_FILE", file(t, "[default]\noutput = yaml-stream\n[profile p]\n  output = text\noutput=yaml-stream\ncli_timestamp_format = wire\nregion = eu-west-1\n"))
	check("output in the file", "- 1\n")
	t.Setenv("AWS_DEFAULT_OUTPUT", "json")
	check("AWS_DEFAULT_OUTPUT", "1\n")
	check("--output", "- 1\n", "--output", "yaml-stream")
	t.Setenv("AWS_DEFAULT_OUTPUT", "")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_PROFILE", "p")
	check("AWS_PROFILE", "- 1\n")
	out, errs, code := culvert(t, "list", "--query", "tunnelSummaries[0].createdAt > `1e9`", "--output", "json")
	if code != 0 || out != "true\n" {
		t.Errorf("cli_timestamp_format: exit %d, %q, %s", code, out, errs)
	}
	if err := os.Unsetenv("AWS_ENDPOINT_URL_IOTSECURETUNNELING"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL", b.url)
	check("AWS_ENDPOINT_URL", "- 1\n", "--no-sign-request")
}
