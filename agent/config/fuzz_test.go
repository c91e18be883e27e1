package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// FuzzParse holds Parse to its promises on any input: it does not panic, it returns a configuration or an
// error and never both, every error has a place in the file, and what is accepted is complete and TOML: go-toml's decoder,
// which is too large for the device, takes it too.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"../../configs/culvertd.toml", "../../configs/minimal.toml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	files, err := filepath.Glob("testdata/wrong/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for text := range strings.SplitSeq(string(data), "\n=== ") {
			_, text, _ = strings.Cut(text, "\n")
			text, _, _ = strings.Cut(text, "--- says\n")
			f.Add([]byte(text + requiredPart))
		}
	}
	f.Add([]byte("a = [[[[{b = [{}]}]]]]"))
	f.Add([]byte("\xef\xbb\xbf\r\n\t\"\"=''\n[\"\"]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(strings.NewReader(string(data)), "f.toml")
		if err == nil {
			var v map[string]any
			if err := toml.Unmarshal([]byte(strings.TrimPrefix(string(data), "\ufeff")), &v); err != nil {
				t.Errorf("accepted, though it is no TOML: %v", err)
			}
			if cfg.ThingName == "" || cfg.MQTT.Endpoint == "" && !cfg.MQTT.Disabled || cfg.MQTT.ClientID == "" || cfg.MQTT.Port < 1 ||
				!cfg.MQTT.ByName() && !cfg.MQTT.Disabled && cfg.MQTT.CertFile == "" || !cfg.MQTT.Disabled && (cfg.MQTT.CertFile == "") != (cfg.MQTT.KeyFile == "" && cfg.MQTT.TPMKey.Handle == 0) {
				t.Errorf("accepted, though incomplete: %+v", cfg)
			}
			for _, s := range cfg.Services {
				if s.Name == "" || s.Address == "" || s.IdleTimeout < 0 || s.MaxConnections < 0 {
					t.Errorf("accepted a service that is none: %+v", s)
				}
			}
			return
		}
		if cfg != nil {
			t.Error("a configuration beside the error")
		}
		list, ok := errors.AsType[Errors](err)
		if e, one := errors.AsType[*Error](err); !ok && one {
			list = Errors{e}
		}
		if len(list) == 0 {
			t.Fatalf("%T", err)
		}
		if notTOML(data) != nil {
			// The whole file is wrong. The error quotes nothing of it, so it points to no place.
			if len(list) != 1 || list[0].Line != 0 || list[0].Source != "" || list[0].Message == "" {
				t.Errorf("a file that is no configuration: %#v", list)
			}
			return
		}
		lines := strings.Count(string(data), "\n") + 1
		for i, e := range list {
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Width < 1 || e.Message == "" {
				t.Errorf("a problem without a place: %#v", e)
			}
			if i > 0 && e.Line < list[i-1].Line {
				t.Errorf("line %d comes after line %d", e.Line, list[i-1].Line)
			}
			if text := e.Error(); strings.ContainsAny(text, "\x1b\x00\r\x07") {
				t.Errorf("control characters in %q", text)
			}
		}
	})
}
