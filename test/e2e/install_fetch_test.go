package e2e

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/test/harness"
)

func TestInstallFollowsNoRedirectFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	files := http.FileServer(http.Dir(release(t)))
	plain := httptest.NewServer(files)
	t.Cleanup(plain.Close)
	var other string
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch to, name, _ := strings.Cut(r.URL.Path[1:], "/"); to {
		case "down":
			http.Redirect(w, r, plain.URL+"/"+name, http.StatusFound)
		case "same":
			http.Redirect(w, r, other+"/"+name, http.StatusFound)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(secure.Close)
	other = secure.URL
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(t.TempDir(), "wgetrc")
	if err := os.WriteFile(settings, []byte("ca_certificate = "+authority+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, fetcher := range []string{"curl", "wget"} {
		t.Run(fetcher, func(t *testing.T) {
			m := newMachine(t, map[string]string{"dpkg": "amd64"})
			m.env = []string{"CURL_CA_BUNDLE=" + authority, "WGETRC=" + settings}
			_ = os.Remove(filepath.Join(m.bin, "curl"))
			for _, name := range []string{fetcher, "grep"} {
				path, err := exec.LookPath(name)
				if err != nil {
					t.Skipf("no %s here", name)
				}
				if err := os.Symlink(path, filepath.Join(m.bin, name)); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := m.install(t, "--dry-run", "--from", secure.URL+"/same"); err != nil || !strings.Contains(out, "culvertd_1.2.3_amd64.deb") {
				t.Errorf("a redirect within https: %v: %s", err, out)
			}
			if out, err := m.install(t, "--dry-run", "--from", secure.URL+"/down"); err == nil || !strings.Contains(out, "https") {
				t.Errorf("a redirect to http: %v: %s", err, out)
			}
		})
	}
}

// TestInstallTakesNothingThatCameByAnotherProtocol: wget follows a redirect to ftp, too.
func TestInstallTakesNothingThatCameByAnotherProtocol(t *testing.T) {
	t.Parallel()
	from := release(t)
	for location, want := range map[string]string{
		"ftp://mirror.example/a:b":    "redirects from https to another protocol, ftp: nothing was installed",
		"HTTP://mirror.example:80/x":  "redirects from https to another protocol, HTTP: nothing was installed",
		"https://mirror.example:44/x": "culvertd_1.2.3_amd64.deb",
		"/x:y":                        "culvertd_1.2.3_amd64.deb",
	} {
		m := newMachine(t, map[string]string{"dpkg": "amd64"})
		_ = os.Remove(filepath.Join(m.bin, "curl"))
		wget := "#!/bin/sh\necho '  Location: " + location + "' >&2\nwhile [ \"$1\" != -O ]; do shift; done\ncp '" + from + "/SHA256SUMS' \"$2\"\n"
		if err := harness.WriteProgram(filepath.Join(m.bin, "wget"), []byte(wget)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"grep", "sed", "cp"} {
			if path, err := exec.LookPath(name); err == nil {
				_ = os.Symlink(path, filepath.Join(m.bin, name))
			}
		}
		if out, _ := m.install(t, "--dry-run", "--from", "https://release.example"); !strings.Contains(out, want) {
			t.Errorf("%s: %s", location, out)
		}
	}
}

// TestInstallSaysThatWgetShowsNoRedirects: that of OpenWrt, uclient-fetch, knows no -S. Without it a redirect to http would
// be followed unseen.
func TestInstallSaysThatWgetShowsNoRedirects(t *testing.T) {
	t.Parallel()
	from := release(t)
	m := newMachine(t, map[string]string{"dpkg": "amd64"})
	_ = os.Remove(filepath.Join(m.bin, "curl"))
	wget := `#!/bin/sh
for arg; do
  [ "$arg" != -S ] || { printf 'wget: unrecognized option: S\nUsage: wget [options] <URL>\nOptions:\n' >&2; exit 1; }
done
while [ "$1" != -O ]; do shift; done
cp '` + from + `/SHA256SUMS' "$2"
`
	if err := harness.WriteProgram(filepath.Join(m.bin, "wget"), []byte(wget)); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("grep")
	if err != nil {
		t.Skip("no grep here")
	}
	if err := os.Symlink(path, filepath.Join(m.bin, "grep")); err != nil {
		t.Fatal(err)
	}
	if out, err := m.install(t, "--dry-run", "--from", "https://release.example"); err == nil || !strings.Contains(out, "install curl") || strings.Contains(out, "Usage") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := m.install(t, "--dry-run", "--from", "http://release.example"); err != nil {
		t.Errorf("http, where redirects are free: %v: %s", err, out)
	}
}
