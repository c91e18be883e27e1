package main

import (
	"os"
	"path/filepath"
)

// outputFile is a device's file in --output-dir. It takes everything: a full disk here must not end a command there.
type outputFile struct {
	f   *os.File
	err error // the first
}

// createOutput makes a thing's file with the ending, or empties it.
func createOutput(dir, thing, ending string) (*outputFile, error) {
	f, err := os.Create(filepath.Join(dir, thing+ending))
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
