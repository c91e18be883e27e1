package main

import (
	"archive/tar"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/registry"
)

// account is a sandbox that stands for an AWS account, and a directory that commands run in.
type account struct {
	*sandbox.Sandbox
}

func newAccount(t *testing.T) account {
	t.Helper()
	box, err := sandbox.Start(t.Context(), sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "CULVERT_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"HOME": t.TempDir(), "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing", "AWS_REGION": box.Region,
		"AWS_ENDPOINT_URL": box.APIURL, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1", "NO_PROXY": "*",
	} {
		t.Setenv(name, value)
	}
	t.Chdir(t.TempDir())
	return account{box}
}

// culvert runs the command in this process.
func (account) culvert(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return out.String(), errs.String(), code
}

func wants(t *testing.T, what, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("%s lacks %q:\n%s", what, p, text)
		}
	}
}

func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string]string{}
	for archive := tar.NewReader(f); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(data)
	}
}

func TestSetupThingMakesWhatADeviceNeeds(t *testing.T) {
	a := newAccount(t)

	out, errs, code := a.culvert(t, "setup-thing", "my:pi", "--dry-run")
	if code != 0 {
		t.Fatalf("dry run: exit code %d: %s", code, errs)
	}
	wants(t, "the plan", out, `account 123456789012, region eu-west-1`, `thing +my:pi +to be made`, `policy +culvert-my\.pi +to be made`)
	wants(t, "the plan", errs, `nothing was changed`)
	if files, _ := os.ReadDir("."); len(files) > 0 {
		t.Errorf("a dry run wrote %s", files[0].Name())
	}

	again, errs, code := a.culvert(t, "setup-thing", "my:pi", "--service", "SSH=22", "--service", "WEB=localhost:8080")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	if again != out {
		t.Errorf("the dry run changed something:\n%s\nthen\n%s", out, again)
	}
	wants(t, "the steps", errs, `thing my:pi made`, `policy culvert-my\.pi made`, `certificate [0-9a-f]{64} made`, `sudo culvertd init --bundle culvert-my\.pi\.tar`)
	info, err := os.Stat("culvert-my.pi.tar")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle has mode %o", info.Mode().Perm())
	}
	files := unpack(t, "culvert-my.pi.tar")
	wants(t, "the configuration", files["culvertd.toml"], `thing_name = "my:pi"`, `endpoint  = "`+a.MQTT+`"`, `"SSH" = 22\n"WEB" = "localhost:8080"`)
	if strings.Contains(out+errs, "PRIVATE KEY") {
		t.Error("the private key was shown")
	}
	pair, err := tls.X509KeyPair([]byte(files["device.pem.crt"]), []byte(files["private.pem.key"]))
	if err != nil {
		t.Fatalf("certificate and key: %v", err)
	}
	if thing, known, err := a.Registry.Thing(pair.Leaf); thing != "my:pi" || !known || err != nil {
		t.Errorf("the certificate is of %q: %v", thing, err)
	}
	documents, _ := a.Registry.Policies(pair.Leaf)
	if len(documents) != 1 {
		t.Fatalf("%d policies are attached", len(documents))
	}
	// What is printed is what is attached, and the broker understands it.
	if !strings.Contains(out, string(documents[0])) {
		t.Errorf("another policy was printed than was attached:\n%s", documents[0])
	}
	if _, err := broker.ParsePolicy(documents[0]); err != nil {
		t.Error(err)
	}

	// Once more: nothing happens, whatever asks.
	bundle, _ := os.ReadFile("culvert-my.pi.tar")
	out, errs, code = a.culvert(t, "setup-thing", "my:pi")
	if code != 0 {
		t.Fatalf("again: exit code %d: %s", code, errs)
	}
	wants(t, "the plan", out, `thing +my:pi +is there`, `policy +culvert-my\.pi +is there`, `certificate +is there, in culvert-my\.pi\.tar\n`)
	wants(t, "the steps", errs, `nothing was changed`)
	if now, _ := os.ReadFile("culvert-my.pi.tar"); !bytes.Equal(now, bundle) {
		t.Error("the bundle was written over")
	}
}

func TestSetupThingKeepsWhatIsThere(t *testing.T) {
	a := newAccount(t)
	run := func(code int, args ...string) string {
		t.Helper()
		out, errs, got := a.culvert(t, append([]string{"setup-thing", "my-pi"}, args...)...)
		if got != code {
			t.Fatalf("exit code %d, want %d:\n%s%s", got, code, out, errs)
		}
		return out + errs
	}
	run(0)
	if err := os.Rename("culvert-my-pi.tar", "carried-away.tar"); err != nil {
		t.Fatal(err)
	}
	wants(t, "without its bundle", run(1), `my-pi has a certificate already \([0-9a-f]{64}\)`, `hint: .*--new-certificate`)
	wants(t, "one more", run(0, "--new-certificate"), `another one, which keeps working: arn:aws:iot:`, `certificate [0-9a-f]{64} made`)
	wants(t, "a foreign bundle", run(1, "--account", "210987654321", "--policy-name", "other"), `already, and is of thing my-pi .* account 123456789012`, `hint: .*--output`)
	if err := os.WriteFile("notes.txt", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, "a file that is no bundle", run(1, "-o", "notes.txt"), `notes.txt exists, and is not a device's bundle`)
	if text, _ := os.ReadFile("notes.txt"); string(text) != "mine" {
		t.Error("it was written over")
	}
	wants(t, "another policy of that name", run(1, "-o", "new.tar", "--new-certificate", "--account", "210987654321"),
		`there is a policy culvert-my-pi already, and it says something else`, `hint: .*--policy-name`)
	wants(t, "no place for it", run(1, "--new-certificate", "-o", filepath.Join("none", "x.tar")), `make the bundle: open none`)
}

// pack writes a bundle.
func pack(t *testing.T, path string, files map[string]string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), Format: tar.FormatUSTAR})
		if _, writeErr := io.WriteString(w, data); err != nil || writeErr != nil {
			t.Fatal(err, writeErr)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o600), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// The device runs what is in a bundle: one that another user could have made is not taken.
func TestSetupThingAdoptsOnlyItsOwnBundle(t *testing.T) {
	a := newAccount(t)
	for _, thing := range []string{"my-pi", "other"} {
		if _, errs, code := a.culvert(t, "setup-thing", thing); code != 0 {
			t.Fatal(errs)
		}
	}
	const bundle = "culvert-my-pi.tar"
	good, other := unpack(t, bundle), unpack(t, "culvert-other.tar")
	with := func(name, data string) map[string]string {
		files := maps.Clone(good)
		files[name] = data
		return files
	}
	for name, tt := range map[string]struct {
		prepare func() error
		want    string
	}{
		"others may write": {func() error { return os.Chmod(bundle, 0o666) }, "other users own it or may change it (mode 0666)"},
		"others may read":  {func() error { return os.Chmod(bundle, 0o640) }, "(mode 0640)"},
		"a link": {func() error {
			return errors.Join(os.Rename(bundle, "elsewhere.tar"), os.Symlink("elsewhere.tar", bundle))
		}, "is not a regular file"},
		"a hook inside": {func() error {
			pack(t, bundle, with("culvertd.toml", good["culvertd.toml"]+"[hooks]\ncommand = [\"/bin/evil\"]\n"))
			return nil
		}, "its file culvertd.toml is not what setup-thing writes"},
		"another broker": {func() error {
			pack(t, bundle, with("culvertd.toml", strings.Replace(good["culvertd.toml"], a.MQTT, "evil.example:8883", 1)))
			return nil
		}, "its file culvertd.toml is not what setup-thing writes"},
		"a file more": {func() error {
			pack(t, bundle, with("evil.sh", "#!/bin/sh\n"))
			return nil
		}, "its list of files is not what"},
		"another device's certificate": {func() error {
			files := with("device.pem.crt", other["device.pem.crt"])
			files["private.pem.key"] = other["private.pem.key"]
			pack(t, bundle, files)
			return nil
		}, "its certificate is not what"},
		"another key": {func() error {
			pack(t, bundle, with("private.pem.key", other["private.pem.key"]))
			return nil
		}, "its private key is not what"},
		"a certificate that was deleted": {func() error {
			gone := regexp.MustCompile("cert/[0-9a-f]{64}").ReplaceAllString(good["setup.json"], "cert/"+strings.Repeat("0", 64))
			pack(t, bundle, with("setup.json", gone))
			return nil
		}, "AWS IoT does not know its certificate " + strings.Repeat("0", 64) + " any more"},
	} {
		t.Run(name, func(t *testing.T) {
			pack(t, bundle, good)
			if err := tt.prepare(); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(bundle)
			_, errs, code := a.culvert(t, "setup-thing", "my-pi")
			if code != 1 || !strings.Contains(errs, tt.want) || !strings.Contains(errs, "\nhint: ") || strings.Contains(errs, "PRIVATE KEY") {
				t.Errorf("exit code %d, want %q in\n%s", code, tt.want, errs)
			}
		})
	}
	for name, text := range map[string]string{
		"its own": good["culvertd.toml"], "that of an earlier version": strings.Replace(good["culvertd.toml"], "answer_pings = true\n", "", 1),
	} {
		pack(t, bundle, with("culvertd.toml", text))
		if _, errs, code := a.culvert(t, "setup-thing", "my-pi"); code != 0 {
			t.Errorf("%s: exit code %d, %s", name, code, errs)
		}
	}
}

func TestSetupThingDoesNotIgnoreOptionsForAnExistingBundle(t *testing.T) {
	a := newAccount(t)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, a.CA.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	made := []string{"setup-thing", "my-pi", "--service", "SSH=22", "--service", "WEB=localhost:8080", "--data-endpoint", "wss://a.example"}
	for _, args := range [][]string{made, made, {"setup-thing", "my-pi"}} {
		if _, errs, code := a.culvert(t, args...); code != 0 {
			t.Fatalf("%v: %s", args, errs)
		}
	}
	for want, options := range map[string][]string{
		"services": {"--service", "SSH=23"}, "roots": {"--ca-file", roots}, "data endpoints": {"--data-endpoint", "wss://b.example"},
	} {
		_, errs, code := a.culvert(t, append([]string{"setup-thing", "my-pi"}, options...)...)
		if code != 1 || !strings.Contains(errs, "culvert-my-pi.tar is there already, and has other "+want+" than the options\nhint: ") {
			t.Errorf("%v: exit code %d, %s", options, code, errs)
		}
	}
}

func TestSetupThingLooksForAPlaceBeforeItMakesAnything(t *testing.T) {
	a := newAccount(t)
	_, errs, code := a.culvert(t, "setup-thing", "my-pi", "-o", filepath.Join("none", "x.tar"))
	if code != 1 || !strings.Contains(errs, "make the bundle: open none") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	out, _, _ := a.culvert(t, "setup-thing", "my-pi", "--dry-run")
	wants(t, "the plan afterwards", out, `thing +my-pi +to be made`, `policy +culvert-my-pi +to be made`)
}

func TestSetupThingCanGoOnAfterAFailure(t *testing.T) {
	denied := registry.Fault{Status: 403, Type: "UnauthorizedException", Message: "not authorized"}
	for _, tt := range []struct {
		operation string
		says      []string // as regular expressions
	}{
		{"DescribeEndpoint", []string{`ask for the account's endpoint: An error occurred \(UnauthorizedException\)`, `hint: the IAM policy must allow iot:DescribeEndpoint\n$`}},
		{"CreateThing", []string{`make the thing my-pi: An error`, `the same command again`}},
		{"CreatePolicy", []string{`make the policy`, `aws iot delete-thing --thing-name my-pi\n`}},
		{"CreateCertificateFromCsr", []string{`make a certificate`, `delete-policy --policy-name culvert-my-pi\n  aws iot delete-thing`}},
		{"AttachPolicy", []string{
			`attach the policy culvert-my-pi to the certificate`, `continues with culvert-my-pi.tar`,
			`update-certificate --certificate-id [0-9a-f]{64} --new-status INACTIVE\n  aws iot delete-certificate --certificate-id [0-9a-f]{64}\n  aws iot delete-policy`,
		}},
		{"AttachThingPrincipal", []string{`attach the certificate`, `detach-policy --policy-name culvert-my-pi --target arn:aws:iot:.*:cert/[0-9a-f]{64}\n`}},
	} {
		t.Run(tt.operation, func(t *testing.T) {
			a := newAccount(t)
			a.Registry.Fail(tt.operation, denied)
			_, errs, code := a.culvert(t, "setup-thing", "my-pi")
			if code != 1 {
				t.Fatalf("exit code %d: %s", code, errs)
			}
			wants(t, "the error", errs, tt.says...)
			_, errs, code = a.culvert(t, "setup-thing", "my-pi")
			if code != 0 {
				t.Fatalf("the second time: exit code %d: %s", code, errs)
			}
			pair, err := tls.X509KeyPair([]byte(unpack(t, "culvert-my-pi.tar")["device.pem.crt"]), []byte(unpack(t, "culvert-my-pi.tar")["private.pem.key"]))
			if err != nil {
				t.Fatal(err)
			}
			documents, _ := a.Registry.Policies(pair.Leaf)
			if thing, _, err := a.Registry.Thing(pair.Leaf); thing != "my-pi" || err != nil || len(documents) != 1 {
				t.Errorf("thing %q, %d policies: %v", thing, len(documents), err)
			}
		})
	}
}

func TestSetupThingRefuses(t *testing.T) {
	a := newAccount(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no thing", nil, 2, "which thing"},
		{"two things", []string{"a", "b"}, 2, "which thing"},
		{"a name that is none", []string{"my pi"}, 2, "cannot be the name of a thing"},
		{"a name that leaves no room for the client id", []string{strings.Repeat("x", 122)}, 2, "1 to 121"},
		{"a policy name that is none", []string{"x", "--policy-name", "a b"}, 2, "cannot be the name of a policy"},
		{"a service without an address", []string{"x", "--service", "SSH"}, 2, "NAME=ADDRESS"},
		{"a service that is nowhere", []string{"x", "--service", "SSH=nowhere"}, 2, "--service"},
		{"an account that is none", []string{"x", "--account", "12"}, 2, "12 digits"},
		{"roots that are not there", []string{"x", "--ca-file", "none.pem"}, 1, "--ca-file: open none.pem"},
		{"nothing to ask", []string{"x", "--endpoint-url", "http://127.0.0.1:1"}, 1, "Could not connect to the endpoint URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, errs, code := a.culvert(t, append([]string{"setup-thing"}, tt.args...)...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit code %d, want %d; %q lacks %q", code, tt.code, errs, tt.want)
			}
		})
	}
}
