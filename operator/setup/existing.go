package setup

import (
	"archive/tar"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// maxBundle is far more than a bundle has.
const maxBundle = 1 << 20

// existing is the bundle of an earlier call.
type existing struct {
	files  map[string]string
	record record
}

// readBundle returns nil if there is no file. It refuses a file that another user could have planted: the device runs
// what is in it.
func readBundle(path string) (*existing, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, fmt.Errorf("read the existing bundle: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, hint.New(path+" is there already, and is not a regular file", "name another file with --output")
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the existing bundle: %w", err)
	}
	defer in.Close()
	opened, err := in.Stat()
	if err != nil || !os.SameFile(info, opened) {
		return nil, hint.New(path+" was replaced while it was read", "name a file with --output in a directory that only you can write to")
	}
	if !isPrivate(opened) {
		return nil, hint.New(fmt.Sprintf("%s is there already, and other users own it or may change it (mode %04o)", path, opened.Mode().Perm()),
			"name another file with --output; if you made it, run: chmod 600 on it")
	}
	b := &existing{files: map[string]string{}}
	foreign := hint.New(path+" exists, and is not a device's bundle", "name another file with --output")
	archive := tar.NewReader(io.LimitReader(in, maxBundle))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, foreign
		}
		data, err := io.ReadAll(archive)
		if _, twice := b.files[h.Name]; err != nil || twice || h.Typeflag != tar.TypeReg {
			return nil, foreign
		}
		b.files[h.Name] = string(data)
	}
	if json.Unmarshal([]byte(b.files[recordFile]), &b.record) != nil || b.record.Certificate == "" {
		return nil, foreign
	}
	return b, nil
}

// changed names the part of the bundle that differs from what setup-thing writes, or wrote before devices answered pings, for the thing, the endpoint and the
// certificate that AWS knows; "" if none does.
func (b *existing) changed(thing, endpoint, certificate string) string {
	if !sameCertificate(b.files[CertificateFile], certificate) {
		return "certificate"
	}
	if _, err := tls.X509KeyPair([]byte(b.files[CertificateFile]), []byte(b.files[KeyFile])); err != nil {
		return "private key"
	}
	written := b.device().files(thing, endpoint, b.files[CertificateFile], b.files[KeyFile])
	for _, f := range written {
		if b.files[f.name] != f.data && (f.name != ConfigFile || b.files[f.name] != strings.Replace(f.data, answerPings, "", 1)) {
			return "file " + f.name
		}
	}
	if len(b.files) != len(written)+1 { // the record
		return "list of files"
	}
	return ""
}

// device reads the configuration back, as [Device.files] has written it.
func (b *existing) device() (d Device) {
	d.Roots = []byte(b.files[RootsFile])
	section := ""
	for line := range strings.SplitSeq(b.files[ConfigFile], "\n") {
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, ok := strings.Cut(line, " = ")
		if text, err := strconv.Unquote(value); err == nil {
			value = text
		}
		switch {
		case ok && section == "[tunnel]" && key == "endpoint":
			d.DataEndpoint = value
		case ok && section == "[services]":
			name, _ := strconv.Unquote(key)
			d.Services = append(d.Services, [2]string{name, value})
		}
	}
	return d
}

// differs names what the bundle has otherwise than wanted, where something is wanted; "" if nothing.
func (b *existing) differs(wanted Device) string {
	d := b.device()
	switch {
	case len(wanted.Services) > 0 && !slices.Equal(wanted.Services, d.Services):
		return "services"
	case len(wanted.Roots) > 0 && !bytes.Equal(wanted.Roots, d.Roots):
		return "roots"
	case wanted.DataEndpoint != "" && wanted.DataEndpoint != d.DataEndpoint:
		return "data endpoints"
	}
	return ""
}

func sameCertificate(a, b string) bool {
	first, _ := pem.Decode([]byte(a))
	second, _ := pem.Decode([]byte(b))
	if first == nil || second == nil || !bytes.Equal(first.Bytes, second.Bytes) {
		return false
	}
	_, err := x509.ParseCertificate(first.Bytes)
	return err == nil
}
