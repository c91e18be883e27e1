package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// suite is the word between a repository's address and its component in a line of sources.list.
const suite = "stable"

// writeAPT writes the tree of a repository with the .deb files of a release. The caller signs dists/stable/Release, and
// puts the public key into culvert.gpg at the top.
func writeAPT(o options) error {
	debs, err := filepath.Glob(filepath.Join(o.files, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return fmt.Errorf("there is no .deb in %s", o.files)
	}
	indexes := map[string]string{} // by architecture
	for _, deb := range debs {
		content, err := os.ReadFile(deb)
		if err != nil {
			return err
		}
		control, err := controlOf(content)
		if err != nil {
			return fmt.Errorf("%s: %w", deb, err)
		}
		name, arch := field(control, "Package"), field(control, "Architecture")
		if name == "" || arch == "" {
			return fmt.Errorf("%s: its control file names no package or no architecture", deb)
		}
		pooled := path.Join("pool/main", name[:1], name, filepath.Base(deb))
		if err := put(o.out, pooled, content); err != nil {
			return err
		}
		indexes[arch] += fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n\n", control, pooled, len(content), sha256.Sum256(content))
	}
	release, err := indexed(o.out, indexes, o.time)
	if err != nil {
		return err
	}
	if err := put(o.out, "dists/"+suite+"/Release", []byte(release)); err != nil {
		return err
	}
	if o.url == "" {
		return nil
	}
	return put(o.out, "culvert.sources", fmt.Appendf(nil,
		"Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/culvert.gpg\n", o.url, suite))
}

// indexed writes the list of packages for each architecture, and returns the Release that names these lists.
func indexed(out string, indexes map[string]string, at time.Time) (string, error) {
	arches := slices.Sorted(maps.Keys(indexes))
	var sums strings.Builder
	for _, arch := range arches {
		index := []byte(indexes[arch])
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write(index); err != nil {
			return "", err
		}
		if err := w.Close(); err != nil {
			return "", err
		}
		for _, f := range []struct {
			name    string
			content []byte
		}{{"Packages", index}, {"Packages.gz", zipped.Bytes()}} {
			name := "main/binary-" + arch + "/" + f.name
			if err := put(out, "dists/"+suite+"/"+name, f.content); err != nil {
				return "", err
			}
			fmt.Fprintf(&sums, " %x %d %s\n", sha256.Sum256(f.content), len(f.content), name)
		}
	}
	return fmt.Sprintf("Origin: Culvert\nLabel: Culvert\nSuite: %s\nCodename: %[1]s\nDate: %s\nArchitectures: %s\nComponents: main\n"+
		"Description: Remote access through AWS IoT Secure Tunneling\nSHA256:\n%s",
		suite, at.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), strings.Join(arches, " "), sums.String()), nil
}

func put(dir, name string, content []byte) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}
