package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/configs"
	"github.com/culvert-iot/culvert/internal/hint"
)

// Names of the files that init writes, and of those in a bundle of culvert setup-thing.
const (
	configFile      = "culvertd.toml"
	certificateFile = "device.pem.crt"
	keyFile         = "private.pem.key"
	rootsFile       = "roots.pem"
)

// initFile is a file to be written beside the configuration, or the configuration itself.
type initFile struct {
	name string
	data []byte
}

// mayWrite fails if there is a configuration other than the package's example.
func (s *setting) mayWrite() error {
	data, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return hint.Wrap(err, asRoot)
	case s.force, string(data) == configs.Minimal:
		return nil
	}
	return hint.Wrap(fmt.Errorf("%s already exists", s.path),
		fmt.Sprintf("edit it, or replace it with --force, which keeps the old one as %s.old", filepath.Base(s.path)))
}

const (
	// maxBundle is far more than the size of any bundle, in bytes.
	maxBundle = 1 << 20

	asRoot = "run it as root, with sudo"
)

// readBundle reads the files that it knows from a bundle, a ustar archive (POSIX.1-1988) of small files.
// The standard library's reader knows every other form too, and is large.
func readBundle(path string) ([]initFile, error) {
	broken := hint.Wrap(fmt.Errorf("--bundle: %s is not a bundle of culvert setup-thing, or was cut short", path), "copy it again")
	in, err := os.Open(path)
	if err != nil {
		err = fmt.Errorf("--bundle: %w", err)
		if errors.Is(err, fs.ErrNotExist) {
			err = hint.Wrap(err, "culvert setup-thing THING makes it on your machine; copy it here: scp culvert-THING.tar DEVICE:")
		}
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxBundle))
	if err != nil {
		return nil, fmt.Errorf("--bundle: %w", err)
	}
	const block = 512
	var files []initFile
	for len(data) >= block && data[0] != 0 {
		header := data[:block]
		name, _, _ := bytes.Cut(header[:100], []byte{0})
		size, err := strconv.ParseUint(strings.Trim(string(header[124:136]), " \x00"), 8, 32)
		data = data[block:]
		padded := (size + block - 1) / block * block
		if err != nil || string(header[257:262]) != "ustar" || padded > uint64(len(data)) {
			return nil, broken
		}
		switch string(name) {
		case configFile, certificateFile, keyFile, rootsFile:
			files = append(files, initFile{string(name), data[:size]})
		}
		data = data[padded:]
	}
	if find(files, configFile) == nil || find(files, certificateFile) == nil || find(files, keyFile) == nil {
		return nil, broken
	}
	return files, nil
}

func find(files []initFile, name string) *initFile {
	for i := range files {
		if files[i].name == name {
			return &files[i]
		}
	}
	return nil
}

// write puts the files where the daemon finds them, the configuration last. It writes nothing before it
// has checked everything that can be checked.
func (p *program) write(s *setting, files []initFile) error {
	dir := filepath.Dir(s.path)
	if _, err := config.Parse(bytes.NewReader(find(files, configFile).data), s.path); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	cert, key := find(files, certificateFile), find(files, keyFile)
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair(cert.data, key.data); err != nil {
			return hint.Wrap(fmt.Errorf("nothing was written: the certificate and the private key do not fit together: %w", err),
				"use the key that was made with this certificate")
		}
	}
	for i := range files {
		if files[i].name == configFile {
			continue // checked by mayWrite
		}
		path := filepath.Join(dir, files[i].name)
		old, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(old, files[i].data) && !s.force {
			return hint.Wrap(fmt.Errorf("nothing was written: %s already exists with other contents", path),
				"name it with --cert, --key or --ca, or replace it with --force")
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return hint.Wrap(err, asRoot)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if f.name == configFile {
			path = s.path
		}
		if err := replace(path, f.data); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return hint.Wrap(err, asRoot)
			}
			return err
		}
		if err := p.say("wrote " + path); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a whole file for its owner and the group of its directory, which is the daemon's. It
// keeps a different old file beside it, unless that is the package's example.
func replace(path string, data []byte) error {
	old, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(old, data) && string(old) != configs.Minimal {
		if err := os.Rename(path, path+".old"); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".init-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	if info, err := os.Stat(filepath.Dir(path)); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			_ = f.Chown(0, int(stat.Gid)) // the check reports what the daemon cannot read
		}
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
