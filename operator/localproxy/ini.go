package localproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFile bounds configuration files and certificates, in bytes: a directory may hold anything.
const maxFile = 1 << 20

// line is one "key = value" of a file, or what is wrong with it.
type line struct {
	number     int
	key, value string
	problem    string
}

// parseINI reads "key = value" lines. It ignores empty lines, those that begin with # or ;, and " # …" after a
// value. A section's name, as in [ssh], stands before the keys that follow it, with a dot, as in
// the reference local proxy's files.
func parseINI(data []byte) []line {
	var all []line
	section := ""
	number := 0
	for raw := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		number++
		text := strings.TrimSpace(string(raw))
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		if text[0] == '[' && text[len(text)-1] == ']' {
			section = strings.TrimSpace(text[1:len(text)-1]) + "."
			if section == "." {
				section = ""
			}
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		if i := strings.Index(value, " #"); i >= 0 {
			value = value[:i]
		}
		l := line{number: number, key: section + key, value: strings.TrimSpace(value)}
		if !ok || key == "" {
			l.problem = `a line is "name = value"`
		}
		all = append(all, l)
	}
	return all
}

// readINI reads a file of "key = value" lines.
func readINI(path string) ([]line, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, fmt.Errorf("%s is not a text file", path)
	}
	return parseINI(data), nil
}

// readSmall reads a file that must not be large.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: name a file", path)
	case info.Mode().IsRegular() && info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that such a file may have", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// files lists the regular files below dir, links to files included, in the order of their names.
func files(dir string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == dir {
				return err
			}
			return nil // skip what cannot be read
		}
		if d.IsDir() {
			return nil
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			list = append(list, path)
		}
		return nil
	})
	slices.Sort(list)
	return list, err
}

// isDirectory reports whether path is a directory. It fails when path does not exist.
func isDirectory(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("there is no %s: correct the path", path)
		}
		return false, err
	}
	return info.IsDir(), nil
}
