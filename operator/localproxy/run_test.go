package localproxy

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/culvert-iot/culvert/internal/secret"
)

// TestAHostThatDoesNotExistIsExplainedOnce: a mistyped region looks like a network that is down.
func TestAHostThatDoesNotExistIsExplainedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := defaultSettings()
		settings.ConnectRetries = 4
		var log bytes.Buffer
		err := Run(t.Context(), &Config{
			Mode: Destination, Endpoint: "wss://data.tunneling.iot.eu-wset-1.amazonaws.com", AccessToken: secret.New("token"),
			Mappings: []Mapping{{}}, Settings: settings, Verbose: levelWarning,
			NetDial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "data.tunneling.iot.eu-wset-1.amazonaws.com", IsNotFound: true}
			},
		}, &log)
		if err == nil {
			t.Fatal("Run succeeded")
		}
		if n := strings.Count(log.String(), "check -r or -e"); n != 1 {
			t.Errorf("explained %d times:\n%s", n, &log)
		}
	})
}

func TestAnEndpointWithoutTLSIsWarnedAbout(t *testing.T) {
	for endpoint, want := range map[string]bool{"ws://tunnels.example.com": true, "wss://tunnels.example.com": false, "tunnels.example.com": false} {
		cfg, err := Load(Values{optEndpoint: endpoint, optSource: "SSH=0", optAccessToken: "token"}, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(cfg.Warnings, "\n"), "no TLS"); got != want {
			t.Errorf("%s: warned %v, want %v: %q", endpoint, got, want, cfg.Warnings)
		}
	}
}
