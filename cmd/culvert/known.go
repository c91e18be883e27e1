package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/services"
)

// Limits of knownServices.
const (
	knownLife = 30 * 24 * time.Hour // since a service last answered
	maxKnown  = 8
)

// knownServices remembers which services of a thing have answered, in a file below the user's cache directory. Without
// such a directory it remembers nothing.
type knownServices struct {
	path string // "" is none

	mu sync.Mutex
}

// newKnownServices returns those of the thing that a holder's key names.
func newKnownServices(key string) *knownServices {
	base, err := os.UserCacheDir()
	if err != nil {
		return &knownServices{}
	}
	return &knownServices{path: filepath.Join(base, "culvert", "services", key)}
}

// list returns the names, the newest first.
func (k *knownServices) list() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read()
}

func (k *knownServices) read() (names []string) {
	if k.path == "" {
		return nil
	}
	info, err := os.Lstat(k.path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxKnown*256 || time.Since(info.ModTime()) > knownLife {
		return nil
	}
	text, err := os.ReadFile(k.path)
	if err != nil {
		return nil
	}
	for name := range strings.FieldsSeq(string(text)) {
		if services.ValidName(name) && len(names) < maxKnown {
			names = append(names, name)
		}
	}
	return names
}

// add puts a service first. It ignores failures, since the file is only a cache.
func (k *knownServices) add(service string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := k.read()
	if k.path == "" || len(names) > 0 && names[0] == service && k.isFresh() {
		return
	}
	names = append([]string{service}, slices.DeleteFunc(names, func(s string) bool { return s == service })...)
	names = names[:min(len(names), maxKnown)]
	dir := filepath.Dir(k.path)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	file, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return
	}
	_, err = file.WriteString(strings.Join(names, "\n") + "\n")
	if err = errors.Join(err, file.Close()); err != nil || os.Rename(file.Name(), k.path) != nil {
		_ = os.Remove(file.Name())
	}
}

// isFresh reports whether the file is new enough to be left unwritten.
func (k *knownServices) isFresh() bool {
	info, err := os.Lstat(k.path)
	return err == nil && time.Since(info.ModTime()) < 24*time.Hour
}
