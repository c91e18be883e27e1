package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/operator"
)

// Commands that mean the same account and identity share a holder, however they say it; others do not.
func TestWhichCommandsShareAHolder(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"config":      "[profile a]\nregion = eu-west-1\n[profile b]\nregion = eu-west-1\n",
		"credentials": "[a]\naws_access_key_id = AKA\naws_secret_access_key = x\n[b]\naws_access_key_id = AKB\naws_secret_access_key = y\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "CULVERT_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	key := func(environment map[string]string, o reachAWS) string {
		t.Helper()
		for name, value := range environment {
			t.Setenv(name, value)
			defer t.Setenv(name, "")
		}
		loaded, err := operator.LoadConfig(t.Context(), o.options(os.Stderr))
		if err != nil {
			t.Fatal(err)
		}
		r := reachOptions{aws: o, loaded: loaded}
		return r.key("pi-1")
	}
	env := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	profile := func(name string) (o reachAWS) {
		o.Profile = name
		return o
	}
	a := key(nil, profile("a"))
	for name, same := range map[string]string{
		"a profile of the environment":                          key(env("AWS_PROFILE", "a"), reachAWS{}),
		"a profile that counts more than the environment's":     key(env("AWS_PROFILE", "b"), profile("a")),
		"a profile that counts more than the environment's key": key(env("AWS_ACCESS_KEY_ID", "AKC", "AWS_SECRET_ACCESS_KEY", "z"), profile("a")),
	} {
		if same != a {
			t.Errorf("%s has a holder of its own", name)
		}
	}
	for name, other := range map[string]string{
		"another profile":       key(nil, profile("b")),
		"another region":        key(env("AWS_REGION", "eu-central-1"), profile("a")),
		"the environment's key": key(env("AWS_PROFILE", "a", "AWS_ACCESS_KEY_ID", "AKC", "AWS_SECRET_ACCESS_KEY", "z"), reachAWS{}),
		"another data endpoint": key(env("CULVERT_DATA_ENDPOINT", "wss://a.example"), profile("a")),
		"another control API":   key(env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), profile("a")),
	} {
		if other == a {
			t.Errorf("%s has the same holder", name)
		}
	}
}

// Whichever service is called first, a user without credentials reads the same.
func TestEveryCommandSaysThatThereAreNoCredentials(t *testing.T) {
	a := newAccount(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none",
	} {
		t.Setenv(name, value)
	}
	for _, args := range [][]string{
		{"ls"},
		{"inventory"},
		{"ping", "-c", "1", "pi-1"},
		{"setup-thing", "x", "--account", "123456789012"},
		{"setup-thing", "x"},
		{"tunnels", "pi-1"},
		{"list-tunnels"},
		{"connect", "--no-share", "pi-1"},
	} {
		out, errs, code := a.culvert(t, args...)
		if code == 0 || !strings.Contains(errs, "Unable to locate credentials") || !strings.Contains(errs, "\nhint: give --profile, set AWS_ACCESS_KEY_ID") {
			t.Errorf("culvert %s: exit code %d, %s%s", strings.Join(args, " "), code, out, errs)
		}
	}
}
