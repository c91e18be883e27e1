package check

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestBentPEMFilesAreNamed(t *testing.T) {
	provoke(t, []fault{
		{"byte order mark", bend(func(s string) string { return "\ufeff" + s }), "files.certificate", Failed, "begins with a byte order mark", "tail -c +4", ""},
		{"indentation", bend(func(s string) string { return strings.ReplaceAll("\n"+s, "\n", "\n  ") }), "files.certificate", Failed, "has indented lines", "sed", ""},
		{"line ends written out", bend(func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }), "files.certificate", Failed, `has \n written out`, "printf", ""},
		{"carriage returns alone", bend(func(s string) string { return strings.ReplaceAll(s, "\n", "\r") }), "files.certificate", Failed, "carriage returns alone", "tr", ""},
		{"UTF-16", bend(func(s string) string {
			return "\xff\xfe" + strings.Join(strings.Split(s, ""), "\x00") + "\x00"
		}), "files.certificate", Failed, "is encoded as UTF-16", "iconv", ""},
	})
}

// bend changes the certificate's file.
func bend(how func(string) string) func(*bed) {
	return func(b *bed) {
		path := filepath.Join(b.box.Dir, "bent.pem")
		b.write(path, how(b.read(b.files.CertFile)), 0o644)
		b.set("mqtt", "cert_file", `"`+path+`"`)
	}
}
