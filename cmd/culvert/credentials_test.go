package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tools trace what they ask and get on standard error, secrets included.
func TestStandardErrorOfACredentialProcessIsNotShown(t *testing.T) {
	good := `echo '{"Version":1,"AccessKeyId":"AKIAEXAMPLE","SecretAccessKey":"x"}'`
	for name, tt := range map[string]struct{ profile, script, want string }{
		"credentials":           {"[default]\ncredential_process = sh %", good, "Could not connect to the endpoint URL"},
		"credentials of a role": {"[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = p\n[profile p]\ncredential_process = sh %", good, "https://127.0.0.1:1/"},
		"a failure":             {"[default]\ncredential_process = sh %", "exit 3", "the credential_process failed: exit status 3\nhint: check the profile in use, and run its credential_process by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script, config, ran := filepath.Join(dir, "script"), filepath.Join(dir, "config"), filepath.Join(dir, "ran")
			text := "echo 'SecretAccessKey: hidden' >&2\necho >" + ran + "\n" + tt.script + "\n"
			for file, text := range map[string]string{script: text, config: strings.ReplaceAll(tt.profile, "%", script) + "\n"} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := command(t, "list-tunnels", "--region", "eu-west-1", "--endpoint-url", "https://127.0.0.1:1")
			cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE="+config, "AWS_PROFILE=default", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=",
				"AWS_ENDPOINT_URL_STS=https://127.0.0.1:1", "AWS_MAX_ATTEMPTS=1")
			out, _ := cmd.CombinedOutput()
			if _, err := os.Stat(ran); err != nil {
				t.Errorf("the process did not run: %v", err)
			}
			if !strings.Contains(string(out), tt.want) || strings.Contains(string(out), "hidden") {
				t.Errorf("want %q in\n%s", tt.want, out)
			}
		})
	}
}
