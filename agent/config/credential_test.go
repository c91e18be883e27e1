package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/agent/config"
)

const withCredential = `
thing_name = "pi-42"
[mqtt]
endpoint = "a1b2c3d4-ats.iot.eu-west-1.amazonaws.com"
cert_file = "device.pem.crt"
key_file = "credential:key"
`

func TestACredentialIsWhereSystemdLeavesIt(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	cfg, err := config.Parse(strings.NewReader(withCredential), "culvertd.toml")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "key"); cfg.MQTT.KeyFile != want {
		t.Errorf("key_file = %q, want %q", cfg.MQTT.KeyFile, want)
	}
	if err := cfg.CheckFiles(); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "key")) {
		t.Errorf("the service misses its credential: %v", err)
	}
}

func TestOutsideTheServiceACredentialCannotBeChecked(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	cfg, err := config.Parse(strings.NewReader(withCredential), "culvertd.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.CheckFiles(); err == nil || strings.Contains(err.Error(), "key_file") {
		t.Errorf("only the certificate is missed: %v", err)
	}
}

func TestACredentialIsAName(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../key", "/etc/key", "$HOME"} {
		_, err := config.Parse(strings.NewReader(strings.Replace(withCredential, "credential:key", "credential:"+name, 1)), "culvertd.toml")
		if err == nil || !strings.Contains(config.Report(err), "LoadCredential") || !strings.Contains(err.Error(), "culvertd.toml:6") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
