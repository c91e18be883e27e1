package localproxy

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestExportedSettingsAreTheDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings.json")
	if err := ExportSettings(path); err != nil {
		t.Fatal(err)
	}
	got, err := readSettings(path, func(w string) { t.Errorf("warning: %s", w) })
	if err != nil {
		t.Fatal(err)
	}
	want := defaultSettings()
	want.PingInterval = 20 * time.Second
	wantEqual(t, want, got)
}

func TestEverySettingWithoutMeaningIsWarnedAboutOnce(t *testing.T) {
	for _, k := range knownSettings {
		if k.gone == "" {
			continue
		}
		var warnings []string
		s := defaultSettings()
		for _, value := range []string{k.value, "1" + k.value} { // the default asks for nothing
			if err := s.set(settingsPrefix+k.name, value, func(w string) { warnings = append(warnings, w) }); err != nil {
				t.Errorf("%s: %v", k.name, err)
			}
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], k.name) {
			t.Errorf("%s: warnings %q, want one that names it", k.name, warnings)
		}
	}
}
