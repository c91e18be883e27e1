package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/cachefile"
	"github.com/culvert-iot/culvert/services"
)

// Limits of knownServices.
const (
	knownLife    = 30 * 24 * time.Hour // since a service last answered
	knownRefresh = 24 * time.Hour      // between two writes of the same services
	maxKnown     = 8
)

// knownServices remembers which services of a thing have answered.
type knownServices struct {
	file cachefile.File

	mu sync.Mutex
}

// newKnownServices returns those of the thing that a holder's key names.
func newKnownServices(key string) *knownServices {
	return &knownServices{file: cachefile.Open("services", key)}
}

// list returns the names, the newest first.
func (k *knownServices) list() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, _ := k.read()
	return names
}

func (k *knownServices) read() (names []string, age time.Duration) {
	text, written := k.file.Read(maxKnown * 256)
	if age = time.Since(written); age > knownLife {
		return nil, age
	}
	for name := range strings.FieldsSeq(text) {
		if services.ValidName(name) && len(names) < maxKnown {
			names = append(names, name)
		}
	}
	return names, age
}

// add puts a service first.
func (k *knownServices) add(service string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, age := k.read()
	if len(names) > 0 && names[0] == service && age < knownRefresh {
		return
	}
	names = append([]string{service}, slices.DeleteFunc(names, func(s string) bool { return s == service })...)
	k.file.Write(strings.Join(names[:min(len(names), maxKnown)], "\n")+"\n", time.Now())
}
