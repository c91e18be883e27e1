package check

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/session"
)

// unpack reads a bundle with the library that its writer does without.
func unpack(t *testing.T, data []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(z)
	members := map[string]string{}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Mode != 0o600 || time.Since(h.ModTime) > time.Hour {
			t.Errorf("header %+v", h)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(h.Name, "culvertd-check/")
		if !ok {
			t.Errorf("%s is not in the bundle's directory", h.Name)
		}
		members[name] = string(content)
	}
}

func TestABundleHoldsWhatHelpsAndNoSecret(t *testing.T) {
	const (
		token    = "AQIDAHi_" // and what follows
		client   = "0b1e7a52-3c1f-4b7e-9f52-0123456789ab"
		account  = "123456789012"
		password = "hunter2hunter2"
		prefix   = "a1b2c3d4e5f6g7"
		access   = "AKIAIOSFODNN7EXAMPLE"
	)
	long := token + strings.Repeat("Zx9-", 150)
	b := newBed(t)
	key := b.read(b.files.KeyFile)
	b.edit(b.box.MQTT, prefix+"-ats.iot.eu-west-1.amazonaws.com:1")
	b.write(b.files.ConfigFile, b.read(b.files.ConfigFile)+"# password = \""+password+"\"\n# old key:\n# "+strings.ReplaceAll(key, "\n", "\n# ")+"\n", 0o644)
	b.write(filepath.Join(b.files.StateDir, "tunnel-0123456789abcdef.json"), `{"access_token":"`+long+`","client_token":"`+client+`"}`, 0o600)
	b.daemon(func(s *agent.Status) {
		s.MQTT.Endpoint, s.MQTT.LastError = prefix+"-ats.iot.eu-west-1.amazonaws.com:1", "arn:aws:iot:eu-west-1:"+account+":client/pi-1"
		s.Tunnels = []session.Status{{Session: "ba7816bf", State: session.Connected}}
	})
	b.put("/etc/os-release", "PRETTY_NAME=\"A Linux\"\n")
	b.opts.Offline = true
	r := b.examine()
	log := strings.NewReader("the first line is a whole one\n" + strings.Repeat("x\n", 2*logLimit) + strings.Join([]string{
		`INFO  tunnel connected session=ba7816bf access_token=` + long,
		`INFO  something client-token: "` + client + `"`,
		`INFO  bare ` + long + ` and ` + client + `, too`,
		`WARN  proxy http://user:` + password + `@proxy.example:3128 refuses`,
		`INFO  arn:aws:iotsecuretunneling:eu-west-1:` + account + `:tunnel/x by ` + access,
		`{"token": "` + password + `\"` + password + `"}`,
		key, "the last line",
	}, "\n") + "\n")
	cfg, err := config.Load(b.files.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := WriteBundle(t.Context(), &out, Bundle{Config: cfg, Report: r, Log: log, Root: b.root}); err != nil {
		t.Fatal(err)
	}
	members := unpack(t, out.Bytes())
	for name, parts := range map[string][]string{
		"README.txt":       {"look through it"},
		"check.txt":        {"✓ configuration", "checks:"},
		"check.json":       {`"id": "files.key"`},
		"config.toml":      {`thing_name = "pi-1"`, "ECHO = ", `"[account's prefix]-ats.iot.eu-west-1.amazonaws.com:1"`, "[PEM block]", "[removed]"},
		"status.json":      {`"client_id": "pi-1-tunnel"`, "iot:eu-west-1:[account]:client/pi-1", "ba7816bf"},
		"system.txt":       {"culvertd ", "A Linux"},
		"files.txt":        {"-rw------- ", b.files.KeyFile, "tunnel-0123456789abcdef.json"},
		"certificates.txt": {"pi-1, issued by culvert sandbox root, ECDSA P-256"},
		"log.txt":          {"tunnel connected session=ba7816bf access_token=[removed]", "bare [long word] and [uuid], too", "http://[user]@proxy.example:3128 refuses", ":[account]:tunnel/x by [access key]", "[PEM block]", "the last line"},
	} {
		content, ok := members[name]
		if !ok {
			t.Errorf("there is no %s", name)
		}
		for _, part := range parts {
			if !strings.Contains(content, part) {
				t.Errorf("%s lacks %q:\n%.3000s", name, part, content[max(0, len(content)-3000):])
			}
		}
	}
	if log := members["log.txt"]; len(log) > logLimit || strings.Contains(log, "first line") {
		t.Errorf("the log has %d bytes", len(log))
	}
	keyLine := strings.Split(key, "\n")[1]
	for name, content := range members {
		for _, s := range []string{token, client, account, password, prefix, access, keyLine, keyLine[10:30]} {
			if strings.Contains(content, s) {
				t.Errorf("%s holds %q", name, s)
			}
		}
	}
}

func TestTheFilterLeavesWhatIsNotSecret(t *testing.T) {
	f := newFilter(&config.Config{})
	for _, s := range []string{
		"", "\n", "Invalid access token: The access token is not valid for this endpoint.\n", "thing_name = \"pi-42\"\n", "endpoint = \"wss://localhost:8443\"\n",
		"✓ tunnel answer    the service answers (it rejected a dummy token, as expected): 400\n", "2026-11-24T04:22:29.540Z INFO  tunnel accepted session=0f13faca\n",
		"key_file = \"private.pem.key\"\n", "no line end", "12345678901 1234567890123\n", "tunnel-0123456789abcdef.json\n",
	} {
		if got := f.text(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	for s, want := range map[string]string{
		"-----BEGIN PRIVATE KEY-----\ncut off": "[PEM block]",
		"a=b,password='x y',c=d":               "a=b,password=[removed],c=d",
		"Password =  secret":                   "Password =  [removed]",
		"mqtt.username_token = \"a\\\"b\" # c": "mqtt.username_token = [removed] # c",
		"socks5://u:p@h:1 http://h/@x ://a@":   "socks5://[user]@h:1 http://h/@x ://[user]@",
		"secret=":                              "secret=[removed]",
		"token":                                "token",
		"K-secret=x":                           "K-secret=[removed]",
	} {
		if got := f.text(s); got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	}
}

func TestABundleOfARefusedLogIsAnError(t *testing.T) {
	cfg := &config.Config{Path: "/nowhere"}
	err := WriteBundle(t.Context(), io.Discard, Bundle{Config: cfg, Log: io.MultiReader(strings.NewReader("x"), broken{})})
	if err == nil || !errors.Is(err, os.ErrClosed) {
		t.Errorf("error = %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, os.ErrClosed }
