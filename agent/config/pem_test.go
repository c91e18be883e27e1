package config

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/internal/hint"
)

// TestABentPEMFileIsNamedAndItsCureWorks does to a certificate what editors, copies and environment variables
// do, and runs the command that the error names.
func TestABentPEMFileIsNamedAndItsCureWorks(t *testing.T) {
	cert, key := pair(t)
	utf16 := []byte("\xff\xfe")
	for _, c := range cert {
		utf16 = append(utf16, c, 0)
	}
	for name, c := range map[string]struct {
		data       []byte
		want, cure string
	}{
		"a byte order mark":    {append([]byte("\xef\xbb\xbf"), cert...), "begins with a byte order mark", "tail -c +4 OLD > NEW"},
		"UTF-16":               {utf16, "is encoded as UTF-16", "iconv -f UTF-16 -t UTF-8 OLD > NEW"},
		"UTF-16 without mark":  {utf16[2:], "is encoded as UTF-16", ""},
		"indentation":          {append([]byte("    "), bytes.ReplaceAll(cert, []byte("\n"), []byte("\n    "))...), "has indented lines", "sed 's/^[[:blank:]]*//' OLD > NEW"},
		"tabs and CRLF":        {append([]byte("\t"), bytes.ReplaceAll(cert, []byte("\n"), []byte("\r\n\t"))...), "has indented lines", "sed 's/^[[:blank:]]*//' OLD > NEW"},
		`\n written out`:       {bytes.ReplaceAll(cert, []byte("\n"), []byte(`\n`)), `has \n written out in the place of line ends`, `printf '%b' "$(cat OLD)" > NEW`},
		"carriage returns":     {bytes.ReplaceAll(cert, []byte("\n"), []byte("\r")), "has carriage returns alone as line ends", `tr '\r' '\n' < OLD > NEW`},
		"all on one line":      {bytes.ReplaceAll(cert, []byte("\n"), []byte(" ")), "has lost its line ends", ""},
		"the end is missing":   {cert[:len(cert)-10], "has a damaged PEM block", ""},
		"CRLF, which is good":  {bytes.ReplaceAll(cert, []byte("\n"), []byte("\r\n")), "", ""},
		"a chain after a mark": {append(append([]byte("\xef\xbb\xbf"), cert...), cert...), "begins with a byte order mark", "tail -c +4 OLD > NEW"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := &Config{MQTT: MQTT{CertFile: write(t, filepath.Join(dir, "OLD"), c.data, 0o600), KeyFile: write(t, filepath.Join(dir, "key"), key, 0o600)}}
			err := cfg.CheckFiles()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "mqtt.cert_file: "+cfg.MQTT.CertFile+" "+c.want) || !strings.Contains(hint.Of(err), c.cure) {
				t.Fatalf("got %v, want %q and %q", err, c.want, c.cure)
			}
			if c.cure == "" {
				return
			}
			tool, _, _ := strings.Cut(c.cure, " ")
			if _, err := exec.LookPath(tool); err != nil {
				t.Skip(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", c.cure)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.Rename(filepath.Join(dir, "NEW"), cfg.MQTT.CertFile); err != nil {
				t.Fatal(err)
			}
			if err := cfg.CheckFiles(); err != nil {
				t.Errorf("after the cure: %v", err)
			}
		})
	}
}
