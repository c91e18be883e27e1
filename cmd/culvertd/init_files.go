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

// mayWrite fails where a configuration is that somebody has written. The example of the package is none.
func (s *setting) mayWrite() error {
	data, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: run it as root, with sudo", err)
	case s.force, string(data) == configs.Minimal:
		return nil
	}
	return fmt.Errorf("%s is there already: change it with an editor, or replace it with --force, which keeps the old one as %s.old", s.path, filepath.Base(s.path))
}

// maxBundle is far more than any bundle has.
const maxBundle = 1 << 20

// readBundle takes the files of a bundle that have a name of ours. It is a tar archive (POSIX.1-1988, ustar) of small
// files; the standard library's reader knows every other form, too, and is large.
func readBundle(path string) ([]initFile, error) {
	broken := fmt.Errorf("--bundle: %s is no bundle of culvert setup-thing, or was cut short: copy it again", path)
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--bundle: %w", err)
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

// write puts the files where the daemon finds them, the configuration last. Nothing is written before all of it is
// known to be right, as far as that can be told.
func (p *program) write(s *setting, files []initFile) error {
	dir := filepath.Dir(s.path)
	if _, err := config.Parse(bytes.NewReader(find(files, configFile).data), s.path); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	cert, key := find(files, certificateFile), find(files, keyFile)
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair(cert.data, key.data); err != nil {
			return fmt.Errorf("nothing was written: the certificate and the private key do not fit together: %w", err)
		}
	}
	for i := range files {
		if files[i].name == configFile {
			continue // mayWrite has looked at it
		}
		path := filepath.Join(dir, files[i].name)
		old, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(old, files[i].data) && !s.force {
			return fmt.Errorf("nothing was written: %s is there already, and is another one: name it with --cert, --key or --ca, or replace it with --force", path)
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("%w: run it as root, with sudo", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if f.name == configFile {
			path = s.path
		}
		if err := replace(path, f.data); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w: run it as root, with sudo", err)
			}
			return err
		}
		if err := p.say("wrote " + path); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file as a whole, for its owner and the group of its directory, which is the daemon's. What was there
// is kept beside it, unless it is the package's example or the same.
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
	defer os.Remove(f.Name()) // in vain once it has its name
	if info, err := os.Stat(filepath.Dir(path)); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			_ = f.Chown(0, int(stat.Gid)) // the check tells if the daemon cannot read it
		}
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
