package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// controlOf returns the control file of a .deb, which is an ar archive with control.tar.gz in it. nfpm always
// compresses that one with gzip, whatever it uses for the data.
func controlOf(deb []byte) (string, error) {
	const magic, headerSize = "!<arch>\n", 60
	rest, ok := bytes.CutPrefix(deb, []byte(magic))
	if !ok {
		return "", errors.New("not a .deb")
	}
	for len(rest) >= headerSize {
		name := strings.TrimRight(strings.TrimSpace(string(rest[:16])), "/")
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil || size < 0 || size > len(rest)-headerSize {
			return "", errors.New("the .deb is cut short")
		}
		body := rest[headerSize:][:size]
		if name == "control.tar.gz" {
			return controlIn(body)
		}
		rest = rest[min(headerSize+size+size%2, len(rest)):]
	}
	return "", errors.New("the .deb has no control.tar.gz")
}

func controlIn(archive []byte) (string, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return "", fmt.Errorf("control.tar.gz: %w", err)
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err != nil {
			return "", fmt.Errorf("control.tar.gz: no control: %w", err)
		}
		if path.Clean(header.Name) == "control" {
			text, err := io.ReadAll(files)
			return strings.TrimSpace(string(text)) + "\n", err
		}
	}
}

// field returns a field of a control file's first line.
func field(control, name string) string {
	for line := range strings.Lines(control) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
