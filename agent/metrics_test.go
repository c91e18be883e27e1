package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/agent/metrics"
	"github.com/culvert-iot/culvert/agent/session"
)

// scrape asks a daemon over its unix socket.
func scrape(t *testing.T, socket, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	a, err := (&http.Client{Transport: transport}).Get("http://culvertd" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(data)
}

func TestFiguresFollowWhatHappens(t *testing.T) {
	s := startService(t)
	cfg := testConfig(t, "ws://"+s.address, "SSH = 22\nWEB = { address = 80, max_connections = 3 }\n")
	socket := filepath.Join(filepath.Dir(cfg.Path), "m")
	cfg.Metrics.Listen = "unix:" + socket
	cfg.Hooks.Command = []string{"/bin/true"}
	d := start(t, cfg)
	for _, payload := range []string{fmt.Sprintf(notification, ""), fmt.Sprintf(notification, ""), "{}"} {
		_, _ = d.notify(payload)
	}
	d.tunnel(session.Connected)
	status, page := scrape(t, socket, "/metrics")
	if status != 200 {
		t.Fatal(status, page)
	}
	for _, want := range []string{
		`culvertd_notifications_total{result="accepted"} 1`, `culvertd_notifications_total{result="known"} 1`,
		`culvertd_notifications_total{result="refused"} 0`, `culvertd_notifications_total{result="invalid"} 1`,
		`culvertd_tunnels{state="connected"} 1`, `culvertd_tunnels{state="waiting"} 0`, `culvertd_tunnels_max 8`,
		`culvertd_tunnel_connect_attempts_total 1`, `culvertd_tunnel_connects_total 1`, `culvertd_mqtt_subscribed 0`,
		`culvertd_service_connections{service="SSH"} 0`, `culvertd_service_connections_max{service="WEB"} 3`,
		`culvertd_last_notification_timestamp_seconds 0`,
	} {
		if !strings.Contains(page, "\n"+want+"\n") {
			t.Errorf("there is no %s in\n%s", want, page)
		}
	}
	if !regexp.MustCompile(`(?m)^process_resident_memory_bytes [1-9]\d{5,}$`).MatchString(page) && runtime.GOOS == "linux" {
		t.Errorf("no memory in\n%s", page)
	}
	if status, text := scrape(t, socket, "/healthz"); status != 503 || !strings.HasPrefix(text, "mqtt connecting") || strings.Count(text, "\n") != 1 {
		t.Errorf("healthz: %d %q", status, text)
	}
	if status, _ := scrape(t, socket, "/"); status != 404 {
		t.Error(status)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("a server still answers")
	}
}

func TestADaemonRunsWithoutItsFigures(t *testing.T) {
	cfg := testConfig(t, "", "SSH = 22\n")
	cfg.Metrics.Listen = "unix:/nowhere/m"
	d := start(t, cfg)
	d.status()
	if !strings.Contains(d.logs.String(), "metrics cannot be served") || !strings.Contains(d.logs.String(), "metrics.listen to another path") {
		t.Error(d.logs.String())
	}
}

// TestFiguresAreNamedAsPrometheusWants and as the guide says.
func TestFiguresAreNamedAsPrometheusWants(t *testing.T) {
	guide, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(guide)) {
		cells := strings.Split(line, " | ")
		if len(cells) < 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[0], -1) {
			documented[name[1]] = cells[1]
		}
	}
	cfg := testConfig(t, "", "SSH = 22\n")
	cfg.Hooks.Command = []string{"/bin/true"}
	d := start(t, cfg)
	p := &metrics.Page{}
	d.agent.writeMetrics(p)
	families := regexp.MustCompile(`(?m)^# HELP (\S+) \S.*\.\n# TYPE (\S+) (counter|gauge)$`).FindAllStringSubmatch(string(p.Response().Body), -1)
	if len(families) < 20 {
		t.Fatalf("%d families", len(families))
	}
	for _, f := range families {
		name, kind := f[1], f[3]
		if f[2] != name || (kind == "counter") != strings.HasSuffix(name, "_total") || !regexp.MustCompile(`^(culvertd|process|go)_[a-z_]+$`).MatchString(name) {
			t.Errorf("%q: a counter's name ends with _total, and no other's", f[0])
		}
		if told, ok := documented[name]; !ok || told != kind {
			t.Errorf("docs/metrics.md has %q of %s, a %s", told, name, kind)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/metrics.md has %s, which is not served", name)
	}
}
