package config

import (
	"os"
	"path/filepath"
	"strings"
)

// credentialPrefix begins a reference to a file that systemd hands over (systemd.exec(5), LoadCredential=): the
// daemon's user can read a key that only root may read on disk.
const credentialPrefix = "credential:" //nolint:gosec // a prefix, and no credential

// credentialDirectory is where systemd leaves the files of a service, if it does not say so itself.
const credentialDirectory = "/run/credentials/culvertd.service"

// credential resolves a reference. Other programs than the service, such as "culvertd check", are not told where the
// files are, and cannot read them.
func (d *decoder) credential(n *node, name string, to *string) bool {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/$") || strings.ContainsFunc(name, isControl) {
		d.doc.problem(n.value, `write "credential:NAME", with the NAME of LoadCredential=NAME:PATH in the unit`, "%s: %q is not a credential's name", n.path, name)
		return false
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		dir = credentialDirectory
	}
	*to = filepath.Join(dir, name)
	return true
}

// IsCredential reports whether path is a credential that this process cannot read.
func IsCredential(path string) bool {
	return os.Getenv("CREDENTIALS_DIRECTORY") == "" && filepath.Dir(path) == credentialDirectory
}
