package sandbox

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
)

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "box")
	s := start(t, Config{Dir: dir, Things: []string{"pi-1", "plant:pi-2"}, Services: map[string]string{
		"SSH": "22", "APP": "unix:/run/app.sock", "a:b": "[::1]:5900", "odd": `a"b\`,
	}})
	modes := map[string]os.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[e.Name()] = info.Mode()
	}
	want := map[string]os.FileMode{
		"ca.pem": 0o644, "ca-key.pem": 0o600, "culvertd.toml": 0o644, "pi-1.pem.crt": 0o644, "pi-1.pem.key": 0o600,
		"plant%3Api-2-culvertd.toml": 0o644, "plant%3Api-2.pem.crt": 0o644, "plant%3Api-2.pem.key": 0o600,
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "culvertd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := `# Written by the sandbox at each start: changes are lost. It stands for no real account.
thing_name = "pi-1"

[mqtt]
endpoint  = "` + s.MQTT + `"
ca_file   = "ca.pem"
cert_file = "pi-1.pem.crt"
key_file  = "pi-1.pem.key"
answer_pings = true

[tunnel]
endpoint  = "` + s.RelayURL + `"
ca_file   = "ca.pem"
state_dir = "state"

[services]
APP = "unix:/run/app.sock"
SSH = 22
"a:b" = "[::1]:5900"
odd = "a\"b\\"

[control]
socket = "culvertd.sock"
`
	if diff := cmp.Diff(text, string(got)); diff != "" {
		t.Errorf("culvertd.toml (-want +got):\n%s", diff)
	}
	second, err := os.ReadFile(filepath.Join(dir, "plant%3Api-2-culvertd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`thing_name = "plant:pi-2"`, `state_dir = "plant%3Api-2-state"`, `socket = "plant%3Api-2-culvertd.sock"`, `key_file  = "plant%3Api-2.pem.key"`} {
		if !strings.Contains(string(second), line+"\n") {
			t.Errorf("no %s in\n%s", line, second)
		}
	}
	if a, b := s.Device("pi-1"); b != nil || a.ConfigFile != filepath.Join(dir, "culvertd.toml") || a.Socket != filepath.Join(dir, "culvertd.sock") {
		t.Errorf("Device = %+v, %v", a, b)
	}
	if got := s.Devices(); len(got) != 2 || got[0].Thing != "pi-1" || got[1].Thing != "plant:pi-2" {
		t.Errorf("Devices = %+v", got)
	}
}

func TestADirectoryKeepsKeysBetweenRuns(t *testing.T) {
	dir := t.TempDir()
	read := func() (all []string) {
		for _, name := range []string{"ca.pem", "ca-key.pem", "pi-1.pem.crt", "pi-1.pem.key"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		return all
	}
	if err := start(t, Config{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	before := read()
	s := start(t, Config{Dir: dir})
	if diff := cmp.Diff(before, read()); diff != "" {
		t.Errorf("the second run made other keys:\n%s", diff)
	}
	connect(t, s, "pi-1")
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestALongDirectoryHasItsSocketElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	s := start(t, Config{Dir: dir})
	d, err := s.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(d.Socket, dir) || len(d.Socket) > maxSocketPath || !filepath.IsAbs(d.Socket) {
		t.Fatalf("socket %s", d.Socket)
	}
	text, err := os.ReadFile(d.ConfigFile)
	if err != nil || !strings.Contains(string(text), `socket = "`+d.Socket+`"`) {
		t.Errorf("%v, configuration:\n%s", err, text)
	}
	l, err := net.Listen("unix", d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(d.Socket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory is left: %v", err)
	}
}

func TestAdvertisedHost(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"loopback", Config{}, "127.0.0.1"},
		{"all interfaces", Config{Listen: "0.0.0.0"}, "127.0.0.1"},
		{"given", Config{Listen: "0.0.0.0", Advertise: "localhost"}, "localhost"},
		{"SNI wants a name", Config{RequireSNI: true}, "localhost"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.cfg)
			for _, address := range []string{s.MQTT, s.MQTTALPN, strings.TrimPrefix(s.APIURL, "http://"), strings.TrimPrefix(s.RelayURL, "wss://")} {
				if host, _, _ := net.SplitHostPort(address); host != tt.want {
					t.Errorf("advertised %s, want %s", address, tt.want)
				}
			}
			if !strings.HasPrefix(s.AdminURL, "http://127.0.0.1:") {
				t.Errorf("admin at %s", s.AdminURL)
			}
			connect(t, s, "pi-1")
		})
	}
}

func TestADirectoryServesOneSandboxAtATime(t *testing.T) {
	dir := t.TempDir()
	first := start(t, Config{Dir: dir})
	before, err := os.ReadFile(filepath.Join(dir, "culvertd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Start(t.Context(), Config{Dir: dir})
	if err == nil {
		_ = second.Close()
		t.Fatal("a second sandbox started in the same directory")
	}
	if !strings.Contains(err.Error(), "another sandbox is using "+dir) || hint.Of(err) == "" {
		t.Errorf("error %q, hint %q", err, hint.Of(err))
	}
	after, err := os.ReadFile(filepath.Join(dir, "culvertd.toml"))
	if err != nil || string(after) != string(before) {
		t.Errorf("the second sandbox changed the first one's configuration (%v)", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := Start(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatalf("after the first one's end: %v", err)
	}
	_ = third.Close()
}
