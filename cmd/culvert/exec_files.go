package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// devices are names that Windows keeps for devices, with any ending.
var devices = regexp.MustCompile(`(?i)^(con|prn|aux|nul|(com|lpt)[0-9])$`)

// outputName is the name of a thing's files in --output-dir, without .out and .err. On Windows a colon would begin the
// name of a stream inside another file: it becomes %3A, and the first letter of a device's name becomes a number, too. No
// thing's name has a %.
func outputName(thing, system string) string {
	if system != "windows" {
		return thing
	}
	if devices.MatchString(thing) {
		return fmt.Sprintf("%%%02X%s", thing[0], thing[1:])
	}
	return strings.ReplaceAll(thing, ":", "%3A")
}

// outputFile is a device's file in --output-dir. It takes everything: a full disk here must not end a command there.
type outputFile struct {
	f   *os.File
	err error // the first
}

// createOutput makes a thing's file with the ending, or empties it.
func createOutput(dir, thing, ending string) (*outputFile, error) {
	f, err := os.Create(filepath.Join(dir, outputName(thing, runtime.GOOS)+ending))
	return &outputFile{f: f}, err
}

func (o *outputFile) Write(b []byte) (int, error) {
	if o.err == nil {
		_, o.err = o.f.Write(b)
	}
	return len(b), nil
}

// close returns why the file is not complete.
func (o *outputFile) close() error {
	if err := o.f.Close(); o.err == nil {
		o.err = err
	}
	return o.err
}

// checkOutput makes the directory, and finds things that would share a file there. foldsCase reports whether a directory
// does not distinguish upper from lower case.
func checkOutput(dir string, names []string, foldsCase func(dir string) (bool, error)) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	seen := map[string]string{}
	for _, name := range names {
		lower := strings.ToLower(name)
		other, is := seen[lower]
		if !is {
			seen[lower] = name
			continue
		}
		folds, err := foldsCase(dir)
		if err != nil || !folds {
			return err
		}
		return hint.New(fmt.Sprintf("%s does not distinguish upper from lower case: %s and %s would share a file", dir, other, name),
			"run the command on one of them at a time, with a directory for each")
	}
	return nil
}

// foldsCase tries it with a file.
func foldsCase(dir string) (bool, error) {
	f, err := os.CreateTemp(dir, "culvert-case-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	_, err = os.Lstat(filepath.Join(dir, strings.ToUpper(filepath.Base(f.Name()))))
	return err == nil, nil
}
