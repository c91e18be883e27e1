package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// FileError is what is wrong with a file that the configuration names, or with two of them together. Its text
// names the keys; its hint says what to do.
type FileError struct {
	Keys []string // as "mqtt.cert_file"
	Err  error
}

// Error gives the whole text.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns what Error shows.
func (e *FileError) Unwrap() error { return e.Err }

// fileProblem is nil for a nil error.
func fileProblem(err error, keys ...string) error {
	if err == nil {
		return nil
	}
	return &FileError{keys, err}
}

// CheckFiles reads the certificates and the key that the configuration names. Parsing does not: a
// configuration may be written before the device has its certificate. It returns all problems, joined; each is a
// *FileError.
//
// It does not look at dates: a device without a battery clock starts in the past, and must be able to
// start all the same.
func (c *Config) CheckFiles() error {
	if c.MQTT.Disabled {
		c = &Config{Tunnel: c.Tunnel} // what is not used need not be there
	}
	var errs []error
	for _, ca := range [][2]string{{"mqtt.ca_file", c.MQTT.CAFile}, {"tunnel.ca_file", c.Tunnel.CAFile}} {
		if ca[1] == "" {
			continue
		}
		data, err := readPEM(ca[0], ca[1], "CERTIFICATE")
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
			err = hint.New(ca[0]+": "+ca[1]+": no certificate in it can be read", "fetch the file again")
		}
		errs = append(errs, fileProblem(err, ca[0]))
	}
	var cert, key []byte
	var certErr, keyErr error
	if _, _, err := c.MQTT.Login(); err != nil && !IsCredential(c.MQTT.PasswordFile) && !IsCredential(c.MQTT.TokenFile) {
		key, _, _ := strings.Cut(err.Error(), ":")
		errs = append(errs, fileProblem(err, key))
	}
	if c.MQTT.CertFile != "" && !IsCredential(c.MQTT.CertFile) {
		cert, certErr = readPEM("mqtt.cert_file", c.MQTT.CertFile, "CERTIFICATE")
	}
	if c.MQTT.KeyFile != "" && !IsCredential(c.MQTT.KeyFile) {
		key, keyErr = readPEM("mqtt.key_file", c.MQTT.KeyFile, "PRIVATE KEY")
	}
	errs = append(errs, fileProblem(certErr, "mqtt.cert_file"), fileProblem(keyErr, "mqtt.key_file"))
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			errs = append(errs, fileProblem(hint.Wrap(fmt.Errorf("mqtt.cert_file, mqtt.key_file: %s and %s do not fit together: %w", c.MQTT.CertFile, c.MQTT.KeyFile, err),
				"use the key that was made with this certificate"), "mqtt.cert_file", "mqtt.key_file"))
		}
	}
	return errors.Join(errs...)
}

// readPEM reads a file and makes sure that it has a PEM block of the kind that is wanted.
func readPEM(key, path, want string) ([]byte, error) {
	data, err := os.ReadFile(path) // the path is the operator's own
	if err != nil {
		return nil, fileError(key, path, err)
	}
	if flaw := pemFlaw(data); flaw != nil {
		return nil, fmt.Errorf("%s: %s %w", key, path, flaw)
	}
	var found []string
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, want) && block.Type != "ENCRYPTED PRIVATE KEY" && block.Headers["DEK-Info"] == "" {
			return data, nil
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, hint.Wrap(fmt.Errorf("%s: the key in %s has a pass phrase, which cannot be typed at a device", key, path), "remove it with openssl pkey")
		}
		found = append(found, strings.ToLower(block.Type))
	}
	article := "certificate"
	if want == "PRIVATE KEY" {
		article = "private key"
	}
	switch {
	case len(found) > 0:
		return nil, hint.Wrap(fmt.Errorf("%s: %s has a %s where a %s is expected", key, path, strings.Join(found, ", a "), article), "check whether files were mixed up")
	case len(bytes.TrimSpace(data)) == 0:
		return nil, hint.Wrap(fmt.Errorf("%s: %s is empty", key, path), "copy the file again")
	case data[0] == 0x30: // an ASN.1 sequence
		return nil, hint.Wrap(fmt.Errorf("%s: %s is in DER form, a %s in PEM form is expected", key, path, article), "convert it with openssl")
	}
	return nil, hint.Wrap(fmt.Errorf("%s: %s has no %s in PEM form, which begins with -----BEGIN", key, path, article), "copy the file again")
}

// pemFlaw names what an editor or a copy did to a PEM file, with the command that undoes it. It is nil for a file
// whose blocks can be read, or that has none.
func pemFlaw(data []byte) error {
	const begin = "-----BEGIN "
	utf8Mark := bytes.HasPrefix(data, []byte("\xef\xbb\xbf"))
	text := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case isUTF16(data):
		return hint.New("is encoded as UTF-16", "convert it with iconv -f UTF-16 -t UTF-8 OLD > NEW")
	case !bytes.Contains(text, []byte(begin)):
		return nil
	case utf8Mark && bytes.HasPrefix(text, []byte(begin)):
		return hint.New("begins with a byte order mark", "remove it with tail -c +4 OLD > NEW")
	}
	if block, _ := pem.Decode(data); block != nil {
		return nil
	}
	lines := bytes.Count(text, []byte("\n"))
	switch {
	case bytes.Contains(text, []byte(`\n`)):
		return hint.New(`has \n written out in the place of line ends`, `convert it with printf '%b' "$(cat OLD)" > NEW`)
	case lines == 0 && bytes.Contains(text, []byte("\r")):
		return hint.New("has carriage returns alone as line ends", `convert it with tr '\r' '\n' < OLD > NEW`)
	case indented(text):
		return hint.New("has indented lines", "remove the blanks with sed 's/^[[:blank:]]*//' OLD > NEW")
	case lines < 2:
		return hint.New("has lost its line ends", "copy the file again: -----BEGIN and -----END need lines of their own")
	}
	return hint.New("has a damaged PEM block", "copy the file again, from -----BEGIN to -----END")
}

// indented reports whether a line that begins or ends a PEM block begins with white space.
func indented(text []byte) bool {
	for line := range bytes.Lines(text) {
		if trimmed := bytes.TrimLeft(line, " \t"); len(trimmed) < len(line) && bytes.HasPrefix(trimmed, []byte("-----")) {
			return true
		}
	}
	return false
}

func fileError(key, path string, err error) error {
	advice := "check the file and the disk that it is on"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		advice = "put the file there, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		advice = "give the user that runs the daemon access to it"
	default:
		if info, serr := os.Stat(path); serr == nil && info.IsDir() {
			return hint.Wrap(fmt.Errorf("%s: %s is a directory", key, path), "name the file in it")
		}
	}
	return hint.Wrap(fmt.Errorf("%s: %w", key, err), advice)
}
