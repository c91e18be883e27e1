package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// failedList is the file of --failed. While the commands run it holds all names, each behind a blank, which becomes a #
// when the command has succeeded there: --things skips such lines. So the file is true even if this program is killed.
type failedList struct {
	f  *os.File
	at map[string]int64 // where a name's line begins
}

// checkFailed reports why the file could not be written, and leaves it as it is.
func checkFailed(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return err
		}
		return f.Close()
	}
	if _, err := os.Lstat(path); err == nil {
		return nil // a link: its target is made in time
	}
	if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	_ = f.Close()
	return os.Remove(path)
}

// beginFailed makes a list of names. If that fails, a file that was there is as before.
func beginFailed(path string, names []string) (*failedList, error) {
	var old []byte
	info, err := os.Stat(path)
	wasThere := err == nil && info.Mode().IsRegular()
	if wasThere {
		if old, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &failedList{f: f, at: map[string]int64{}}
	var b strings.Builder
	for _, name := range names {
		l.at[name] = int64(b.Len())
		b.WriteString(" " + name + "\n")
	}
	if err := l.replace(b.String()); err != nil {
		if wasThere {
			_ = l.replace(string(old))
		}
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

// replace makes text the file's content. It never makes the file empty in between.
func (l *failedList) replace(text string) error {
	if _, err := l.f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return l.f.Truncate(int64(len(text)))
}

// succeeded marks a name. An error would show again in finish.
func (l *failedList) succeeded(name string) {
	if l != nil {
		_, _ = l.f.WriteAt([]byte("#"), l.at[name])
	}
}

// finish leaves nothing but names.
func (l *failedList) finish(names []string) error {
	if l == nil {
		return nil
	}
	text := ""
	if len(names) > 0 {
		text = strings.Join(names, "\n") + "\n"
	}
	err := l.replace(text)
	if closeErr := l.f.Close(); err == nil {
		err = closeErr
	}
	return err
}
