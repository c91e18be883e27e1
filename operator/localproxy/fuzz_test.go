package localproxy

import (
	"net"
	"strings"
	"testing"
)

func FuzzSplitMappings(f *testing.F) {
	for _, s := range []string{"22", "SSH=22,APP=/run/a=b", "A=[::1]:1", "=,=", "a.b=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pairs, _, err := splitMappings(s)
		if err != nil {
			return
		}
		for _, p := range pairs {
			if p.endpoint == "" || p.service == "" && len(pairs) > 1 {
				t.Errorf("%q became %+v", s, pairs)
			}
			if m, err := target(p, "localhost"); err == nil && (m.Network == "" || m.Address == "") {
				t.Errorf("%q became %+v", s, m)
			}
			if m, err := listenAddress(p, "127.0.0.1"); err == nil {
				if _, _, err := net.SplitHostPort(m.Address); err != nil {
					t.Errorf("%q became %+v", s, m)
				}
			}
		}
	})
}

// FuzzConfigFile: a file, taken as INI and as JSON, gives keys and values or says what is wrong, and no setting beyond
// its limits.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("a=b\n[c]\nd = e # f\n;g\n"))
	f.Add([]byte(`{"tunneling":{"proxy":{"default_bind_address":"x","tcp":{"a":1,"b":null}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, l := range parseINI(data) {
			if l.problem == "" && (l.key == "" || l.value != strings.TrimSpace(l.value)) {
				t.Errorf("line %+v", l)
			}
		}
		flat, err := flatten(data)
		s := defaultSettings()
		for _, x := range flat {
			_ = s.set(x.name, x.value, func(string) {})
		}
		if err == nil && (s.PingInterval < 0 || s.PingInterval > maxPing || s.ConnectRetries < -1) {
			t.Errorf("settings %+v", s)
		}
	})
}
