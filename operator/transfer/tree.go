package transfer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// directories makes the directories, each level before the next.
func (r *run) directories(ctx context.Context) error {
	depth := func(it *item) int {
		if it.to == "." {
			return 0
		}
		return 1 + strings.Count(it.to, "/")
	}
	deepest := 0
	for _, it := range r.items {
		deepest = max(deepest, depth(it))
	}
	for level := 0; level <= deepest; level++ {
		r.each(ctx, func(yield func(*item) bool) {
			for _, it := range r.items {
				if it.kind == Directory && depth(it) == level && !yield(it) {
					return
				}
			}
		}, r.directory)
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// errBelow is the error of the items in a directory that failed.
var errBelow = errors.New("its directory could not be copied")

// directory makes one directory. Unless it failed, [run.finishDirectory] completes it.
func (r *run) directory(_ context.Context, it *item) Result {
	if it.err != nil || it.below != nil && it.below.state == Failed {
		return r.failed(it)
	}
	if it.to == "." || it.created {
		return Result{State: begun}
	}
	switch err := r.dst.Mkdir(it.to); {
	case err == nil:
		it.created = true
	case isLost(err):
		return Result{Err: err}
	default:
		info, statErr := r.dst.Stat(it.to)
		if statErr != nil {
			return Result{Err: failf(err, "make the directory")}
		}
		if !info.IsDir() {
			return Result{Err: errors.New("a file has the directory's name")}
		}
	}
	return Result{State: begun}
}

// finishDirectory gives a directory its mode and times.
func (r *run) finishDirectory(_ context.Context, it *item) Result {
	if it.err != nil {
		return Result{Err: it.err}
	}
	if !it.created && !r.Preserve {
		return Result{State: Unchanged}
	}
	info, err := r.dst.Stat(it.to)
	if err != nil {
		return Result{Err: failf(err, "stat")}
	}
	mode := it.info.Mode() & permissions
	if !r.Preserve {
		mode &= info.Mode()
	}
	if mode != info.Mode()&permissions {
		if err := r.dst.Chmod(it.to, mode); err != nil {
			return Result{Err: failf(err, "set its mode")}
		}
	}
	if r.Preserve {
		if err := r.dst.Chtimes(it.to, it.info.ModTime()); err != nil {
			return Result{Err: failf(err, "set its time")}
		}
	}
	if !it.created {
		return Result{State: Unchanged}
	}
	return Result{State: Copied}
}

// link copies a link, or reports an item that cannot be copied.
func (r *run) link(_ context.Context, it *item) Result {
	if it.err != nil || it.below != nil && it.below.state == Failed {
		return r.failed(it)
	}
	to, err := r.src.Readlink(it.from)
	if err != nil {
		return Result{Err: failf(err, "read the link")}
	}
	if r.occupied(it) {
		info, err := r.dst.Lstat(it.to)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return Result{Err: failf(err, "examine the existing file")}
		case info.IsDir():
			return Result{Err: errors.New("a directory has this name")}
		case isLink(info):
			if is, err := r.dst.Readlink(it.to); err == nil && is == to {
				return Result{State: Unchanged}
			}
		}
	}
	part := PartialName(it.to)
	if err := r.dst.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{Err: failf(err, "remove an old %s", filepath.Base(part))}
	}
	if err := r.dst.Symlink(to, part); err != nil {
		return Result{Err: failf(err, "make the link")}
	}
	if err := r.dst.Rename(part, it.to); err != nil {
		_ = r.dst.Remove(part)
		return Result{Err: failf(err, "rename the finished link")}
	}
	return Result{State: Copied}
}

// occupied reports whether an item's place may be taken.
func (r *run) occupied(it *item) bool { return it.below == nil || !it.below.created || r.runs > 1 }

// failed is the result of an item that cannot be copied.
func (r *run) failed(it *item) Result {
	if it.err != nil {
		return Result{Err: it.err}
	}
	return Result{Err: errBelow}
}

func splitLocal(p string) (dir, name string) {
	dir, name = filepath.Split(p)
	if dir == "" {
		dir = "."
	}
	return dir, name
}

func endsAsDirectory(p string) bool {
	return p == "" || strings.HasSuffix(p, "/") || strings.HasSuffix(p, string(os.PathSeparator))
}
