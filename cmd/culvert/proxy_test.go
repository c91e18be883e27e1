package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/operator/localproxy"
)

// runCommand is the command in this process.
func runCommand(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestProxyHelpNamesEveryOptionOn80Columns(t *testing.T) {
	code, help, _ := runCommand("proxy", "--help")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for line := range strings.Lines(help) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, o := range localproxy.Options() {
		if !strings.Contains(help, "--"+o.Name) || o.Short != "" && !strings.Contains(help, "-"+o.Short+", --"+o.Name) {
			t.Errorf("--%s or -%s is not there", o.Name, o.Short)
		}
	}
}

func TestProxyVersionIsTheBanner(t *testing.T) {
	for _, flag := range []string{"-V", "--version"} {
		code, out, _ := runCommand("proxy", flag)
		if code != 0 || !strings.Contains(out, "Local Proxy version: ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", flag, code, out)
		}
	}
}

func TestProxyExportsDefaultSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings.json")
	if code, _, errs := runCommand("proxy", "--export-default-settings", path); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		Tunneling struct{ Proxy map[string]any }
	}
	if err := json.Unmarshal(data, &settings); err != nil || settings.Tunneling.Proxy["default_bind_address"] != "localhost" {
		t.Errorf("%v, settings %s", err, data)
	}
	if code, _, _ := runCommand("proxy", "--export-default-settings", filepath.Join(path, "below")); code != exitFailed {
		t.Errorf("a file that cannot be written: exit code %d", code)
	}
}

func TestProxyFlagsAsLocalproxyTakesThem(t *testing.T) {
	cmd := newProxyCommand()
	args := []string{"-r", "eu-west-1", "-tTOKEN", "-s", "A=1,B=2", "-s", "C=3", "-k", "-v5", "--mode=src", "-b=::1"}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	want := localproxy.Values{
		"region": "eu-west-1", "access-token": "TOKEN", "source-listen-port": "A=1,B=2,C=3",
		"no-ssl-host-verify": "true", "verbose": "5", "mode": "src", "local-bind-address": "::1",
	}
	if diff := cmp.Diff(want, proxyValues(cmd.Flags())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProxyUsageErrors(t *testing.T) {
	t.Setenv("AWSIOT_TUNNEL_ACCESS_TOKEN", "SECRET")
	for name, args := range map[string][]string{
		"an argument":         {"-s", "1", "-r", "eu-west-1", "SECRET"},
		"an unknown flag":     {"--sport", "1"},
		"a flag without word": {"-s"},
		"a bad port":          {"-s", "x", "-r", "eu-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := runCommand(append([]string{"proxy"}, args...)...)
			if code != exitUsage || !strings.HasSuffix(errs, "hint: culvert proxy --help\n") || strings.Contains(errs, "SECRET") {
				t.Errorf("exit code %d, %q", code, errs)
			}
		})
	}
}

func TestPingAndDoctorRefuseWhatIsNoThing(t *testing.T) {
	for _, command := range []string{"ping", "doctor"} {
		for _, name := range []string{"", "a b", "pi.local"} {
			if code, out, errs := runCommand(command, name); code != 2 || out != "" || !strings.Contains(errs, "cannot be the name of a thing") {
				t.Errorf("%s %q: exit code %d\n%s%s", command, name, code, out, errs)
			}
		}
	}
}
