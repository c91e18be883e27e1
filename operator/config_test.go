package operator_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// alone shields a test from the machine's AWS configuration.
func alone(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "AWS_CONFIG_FILE": filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"),
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1", "NO_PROXY": "*",
	} {
		t.Setenv(name, value)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func control(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(api.New(api.Config{Store: tunnels.New(tunnels.Config{Region: "eu-west-1"})}))
	t.Cleanup(s.Close)
	return s
}

func list(t *testing.T, o operator.Options) error {
	t.Helper()
	cfg, err := operator.LoadConfig(t.Context(), o)
	if err != nil {
		return err
	}
	_, err = iotsecuretunneling.NewFromConfig(cfg).ListTunnels(t.Context(), nil)
	return err
}

func TestAGivenEndpointComesBeforeConfiguredOnes(t *testing.T) {
	alone(t)
	url := control(t).URL
	for _, name := range []string{"AWS_ENDPOINT_URL_IOTSECURETUNNELING", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, url)
		if err := list(t, operator.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Setenv(name, "http://127.0.0.1:1")
		if err := list(t, operator.Options{EndpointURL: url}); err != nil {
			t.Errorf("EndpointURL before %s: %v", name, err)
		}
		t.Setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
		if err := list(t, operator.Options{EndpointURL: url}); err != nil {
			t.Errorf("EndpointURL with %s ignored: %v", name, err)
		}
		t.Setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "")
		t.Setenv(name, "")
	}
}

// A profile that is asked for counts more than credentials in the environment, as in the AWS CLI; its own endpoint
// and region hold.
func TestProfiles(t *testing.T) {
	alone(t)
	url := control(t).URL
	t.Setenv("AWS_REGION", "")
	write(t, os.Getenv("AWS_CONFIG_FILE"), "[profile p]\nregion = eu-west-1\nservices = s\n[services s]\niotsecuretunneling =\n  endpoint_url = "+url+"\n")
	write(t, os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "[p]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = x\n")
	if err := list(t, operator.Options{Profile: "p"}); err != nil {
		t.Error(err)
	}
	cfg, err := operator.LoadConfig(t.Context(), operator.Options{Profile: "p", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil || keys.AccessKeyID != "AKIDPROFILE" || cfg.Region != "us-east-1" {
		t.Errorf("%v, %s, %v", keys.AccessKeyID, cfg.Region, err)
	}
	_, err = operator.LoadConfig(t.Context(), operator.Options{Profile: "q"})
	if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); !ok {
		t.Errorf("no profile: %v", err)
	}
}

// A program of one's own may use the configuration with the SDK's other services: they must not go to the endpoint of
// the control API.
func TestTheGivenEndpointIsTheControlAPIsAlone(t *testing.T) {
	alone(t)
	var hosts []string
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		_, _ = io.WriteString(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
			</Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	defer sts.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	write(t, os.Getenv("AWS_CONFIG_FILE"), "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n")
	write(t, os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = x\n")
	if err := list(t, operator.Options{Profile: "role", EndpointURL: control(t).URL}); err != nil || len(hosts) != 1 {
		t.Errorf("%v, calls of STS to %v", err, hosts)
	}
}

func TestTimeouts(t *testing.T) {
	alone(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	err = list(t, operator.Options{EndpointURL: "http://" + silent.Addr().String(), ReadTimeout: 50 * time.Millisecond})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	err = list(t, operator.Options{EndpointURL: "http://" + silent.Addr().String(), ConnectTimeout: time.Nanosecond})
	if p := operator.Explain(err); !strings.Contains(hint.Of(p), "nothing answered in time") {
		t.Errorf("no connection: %v, %+v", err, p)
	}
	if err := list(t, operator.Options{EndpointURL: control(t).URL, ReadTimeout: -1, ConnectTimeout: -1}); err != nil {
		t.Errorf("without limits: %v", err)
	}
}

func TestDebugLogsNoTokens(t *testing.T) {
	alone(t)
	var log strings.Builder
	cfg, err := operator.LoadConfig(t.Context(), operator.Options{
		EndpointURL: control(t).URL, Debug: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := iotsecuretunneling.NewFromConfig(cfg).OpenTunnel(t.Context(), &iotsecuretunneling.OpenTunnelInput{Description: aws.String("seen")})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{*out.SourceAccessToken, *out.DestinationAccessToken, "AKIAEXAMPLE"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	for _, want := range []string{"seen", "OpenTunnel", *out.TunnelId, "status=200"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, &log)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	for _, err := range []error{errors.New("two\nlines"), context.Canceled, &operator.CABundleError{Path: "p", Err: errors.New("no\nline")}} {
		if p := operator.Explain(err); p.Error() == "" || strings.Contains(p.Error()+hint.Of(p), "\n") {
			t.Errorf("%v: %+v", err, p)
		}
	}
}

func TestAProxyThatCannotBeParsedIsNotIgnored(t *testing.T) {
	alone(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("NO_PROXY", "")
	t.Setenv("HTTPS_PROXY", "http://user:hidden@proxy.example:port")
	err := list(t, operator.Options{EndpointURL: "https://tunnel.invalid"})
	if err == nil || !strings.Contains(err.Error(), "HTTPS_PROXY: not a proxy URL") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("error = %v", err)
	}
}
