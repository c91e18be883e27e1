package awscli

import (
	"bufio"
	"cmp"
	"os"
	"path/filepath"
	"strings"
)

// profileSettings reads settings of a profile that the AWS SDK ignores, such as output and cli_timestamp_format. It skips
// a file that it cannot read: the SDK reports that.
func profileSettings(profile string) map[string]string {
	path := os.Getenv("AWS_CONFIG_FILE")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		path = filepath.Join(home, ".aws", "config")
	}
	f, err := os.Open(path) //nolint:gosec // G703: the user names his own file
	if err != nil {
		return nil
	}
	defer f.Close()
	profile = cmp.Or(profile, os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")
	settings, in := map[string]string{}, false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		trimmed := strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(trimmed, "["); ok {
			name, _, _ = strings.Cut(name, "]")
			name = strings.TrimSpace(name)
			section, named := strings.CutPrefix(name, "profile ")
			in = named && strings.TrimSpace(section) == profile || name == "default" && profile == "default"
			continue
		}
		key, value, ok := strings.Cut(trimmed, "=")
		if in && ok && trimmed[0] != '#' && trimmed[0] != ';' && line[0] != ' ' && line[0] != '\t' {
			settings[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return settings
}
