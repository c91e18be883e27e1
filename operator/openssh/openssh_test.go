package openssh

import "testing"

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{"/a/b-1.toml": "/a/b-1.toml", "/a b": "'/a b'", "/it's": `'/it'\''s'`, "/$x": "'/$x'", "": "''"} {
		if got := Quote(path); got != want {
			t.Errorf("Quote(%s) = %s, want %s", path, got, want)
		}
	}
}

func TestSystemFile(t *testing.T) {
	t.Setenv("ProgramData", `C:\ProgramData`)
	for goos, want := range map[string]string{"linux": "/etc/ssh/ssh_config", "darwin": "/etc/ssh/ssh_config", "windows": "C:/ProgramData/ssh/ssh_config"} {
		if got := systemFile(goos); got != want {
			t.Errorf("%s: %q, want %q", goos, got, want)
		}
	}
}
