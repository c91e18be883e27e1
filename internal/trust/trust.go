package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Private is a file that only its owner may read.
type Private struct {
	Data []byte
	// Was is the file's mode if others could read or change it; it has been set to 0600 then, unless
	// Mend says why not.
	Was  fs.FileMode
	Mend error
}

// ReadPrivate reads at most limit bytes of a secret file. It follows no symbolic link at the end of path,
// and accepts only a regular file of this user or root: another user may have put it there. It checks the
// open file, so that it cannot be replaced in between.
func ReadPrivate(path string, limit int64) (Private, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return Private{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Private{}, err
	}
	if !info.Mode().IsRegular() {
		return Private{}, fmt.Errorf("it is not a regular file (%v)", info.Mode().Type())
	}
	if uid, ok := foreignOwner(info); ok {
		return Private{}, hint.Wrap(fmt.Errorf("it belongs to user %d", uid), "remove it")
	}
	var p Private
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		p.Was, p.Mend = mode, f.Chmod(0o600)
	}
	p.Data, err = io.ReadAll(io.LimitReader(f, limit))
	return p, err
}

// Planted returns an error if another user has put the file at path there: if it belongs neither to root, nor to
// this process's user, nor to the owner of its directory. info is the file's.
func Planted(path string, info fs.FileInfo) error {
	uid, foreign := foreignOwner(info)
	if !foreign {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if owner, foreign := foreignOwner(dir); foreign && owner == uid {
		return nil
	}
	return hint.Wrap(fmt.Errorf("%s belongs to user %d", path, uid), "remove it, and close its directory to others")
}

// Executable reports whether a command may be run: it must be an executable file that only root and
// this process's own user can change or replace.
func Executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint.New("there is no "+path, "put the command there, or correct its path")
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return hint.New(path+" is not a program", "correct its path")
	case info.Mode().Perm()&0o111 == 0:
		return hint.New(path+" may not be executed", "chmod 755 "+path)
	}
	return File(path)
}

// Command is [Executable] for a program with its arguments. The script that an interpreter is called with
// must be safe too: it decides what is run.
func Command(argv []string) error {
	if err := Executable(argv[0]); err != nil {
		return err
	}
	if !interpreter(filepath.Base(argv[0])) {
		return nil
	}
	for _, arg := range argv[1:] {
		if !filepath.IsAbs(arg) {
			continue
		}
		if info, err := os.Stat(arg); err != nil || !info.Mode().IsRegular() {
			continue // the interpreter will say so
		}
		if err := File(arg); err != nil {
			return err
		}
	}
	return nil
}

// interpreter knows programs that run the files that they are given.
func interpreter(name string) bool {
	for _, prefix := range []string{"python", "perl", "ruby", "lua", "node", "php", "tclsh", "busybox"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "env", "sudo", "doas", "nice", "timeout", "setsid", "nohup", "awk", "gawk", "mawk", "sed", "make":
		return true
	}
	return false
}

// File reports whether another user can change a file, or put another one in its place.
func File(path string) error {
	if !hasModes {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if who, command := writers(info); who != "" {
		return hint.New(who+" can change "+path, command+" "+path)
	}
	if uid, ok := foreignOwner(info); ok {
		return hint.Wrap(fmt.Errorf("%s belongs to user %d, who can change it", path, uid), "chown root "+path)
	}
	return Place(path)
}

// Place reports whether another user can put something else in the place of path, because of one of the
// directories that lead to it: they must belong to root or to this process's user, and not be writable by
// others, unless they are sticky as /tmp is. Where symbolic links are on the way, it is the directories that they
// are in and those that they lead through.
func Place(path string) error {
	if !hasModes {
		return nil
	}
	way, err := steps(path)
	if err != nil {
		return nil // what is not there, or cannot be seen, is its user's own trouble
	}
	for _, step := range slices.Backward(way) {
		info, err := os.Lstat(step)
		if err != nil {
			return nil // likewise
		}
		if who, command := writers(info); who != "" && info.IsDir() && info.Mode()&fs.ModeSticky == 0 {
			return hint.New(who+" can replace what is in "+step, command+" "+step)
		}
		switch uid, ok := foreignOwner(info); {
		case ok && info.IsDir():
			return hint.Wrap(fmt.Errorf("%s belongs to user %d, who can replace what is in it", step, uid), "chown root "+step)
		case ok:
			return hint.Wrap(fmt.Errorf("the symbolic link %s belongs to user %d, who can point it elsewhere", step, uid), "chown -h root "+step)
		}
	}
	return nil
}

// writers names those besides root and this process's own user and group who may write, and the command that
// changes it.
func writers(info fs.FileInfo) (who, command string) {
	mode := info.Mode().Perm()
	if mode&0o002 != 0 {
		return "every user of this machine", "chmod o-w"
	}
	if gid, ok := foreignGroup(info); ok && mode&0o020 != 0 {
		return fmt.Sprintf("every user in group %d", gid), "chmod g-w"
	}
	return "", ""
}

// maxLinks is the number of symbolic links after which a path counts as a loop, as Linux has it
// (path_resolution(7)).
const maxLinks = 40

// steps lists the directories and the symbolic links that are passed on the way to path.
func steps(path string) ([]string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	const root = string(filepath.Separator)
	at, left, links := root, strings.Split(path, root), 0
	way := []string{root}
	for len(left) > 0 {
		name := left[0]
		left = left[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return nil, err
		case info.Mode().Type() == fs.ModeSymlink:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("%s: too many symbolic links", path)
			}
			target, err := os.Readlink(next)
			if err != nil {
				return nil, err
			}
			way = append(way, next)
			if filepath.IsAbs(target) {
				at = root
			}
			left = append(strings.Split(target, root), left...)
		case len(left) > 0:
			at = next
			way = append(way, next)
		}
	}
	return way, nil
}

// Directory reports whether others can put files into a directory or take them away, or put another one in its
// place. That they can see names is no trouble: what is in it has modes of its own.
func Directory(path string) error {
	if !hasModes {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if uid, ok := foreignOwner(info); ok {
		return hint.Wrap(fmt.Errorf("%s belongs to user %d", path, uid), "chown it to culvertd's user")
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return hint.Wrap(fmt.Errorf("%s has mode %04o, which lets others write into it", path, mode), "chmod 700 "+path)
	}
	return Place(path)
}
