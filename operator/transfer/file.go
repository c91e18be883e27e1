package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path"
	"sync"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/units"
)

// largeFile is the size from which a file moves alone, and from which the copier checks the room for it first.
const largeFile = 1 << 20

// fileCopy is the copy of one file.
type fileCopy struct {
	*run

	ctx    context.Context //nolint:containedctx // of one call
	it     *item
	size   int64
	in     reader
	part   string
	result Result

	mode, current fs.FileMode // of the finished copy, and of the partial file now
	counted       int64       // the file's share of the progress
}

// file copies one file.
func (r *run) file(ctx context.Context, it *item) Result {
	if it.err != nil || it.below != nil && it.below.state == Failed {
		r.bytes.Add(it.size)
		return r.failed(it)
	}
	f := &fileCopy{run: r, ctx: ctx, it: it, part: PartialName(it.to)}
	r.current.Store(&it.from)
	err := f.copy()
	if f.in != nil {
		_ = f.in.Close()
	}
	if err != nil {
		f.result.Err = err
		if ctx.Err() != nil || isLost(err) {
			f.count(-f.counted) // to be counted again
		} else {
			f.count(it.size - f.counted)
		}
	}
	return f.result
}

// count adds to the progress.
func (f *fileCopy) count(n int64) {
	f.counted += n
	f.bytes.Add(n)
}

func (f *fileCopy) copy() error {
	in, err := f.src.Open(f.it.from)
	if err != nil {
		return failf(err, "open it")
	}
	f.in = in
	info, err := in.Stat()
	if err != nil {
		return failf(err, "examine it")
	}
	if !isRegular(info) {
		return errors.New("it is no longer a regular file")
	}
	size := info.Size()
	if hasOddSize(size) {
		content, err := slurp(in)
		if err != nil {
			return err
		}
		f.in, size = &memory{in, content}, int64(len(content))
	}
	f.total.Add(size - f.it.size) // it may have grown
	f.it.size, f.it.info, f.size = size, info, size
	f.result.Size = f.size

	var existing, partial fs.FileInfo
	if f.occupied(f.it) {
		if existing, partial, err = f.look(); err != nil {
			return err
		}
	}
	if existing != nil {
		done, err := f.isThere(existing)
		if err != nil || done {
			return err
		}
	}
	out, at, sum, err := f.begin(partial)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := f.protect(out, existing); err != nil {
		return err
	}
	if err := f.move(out, at, sum); err != nil {
		return err
	}
	return f.finish(out, sum)
}

// look describes the file at the copy's place, and the partial file beside it; nil if there is none.
func (f *fileCopy) look() (existing, partial fs.FileInfo, err error) {
	var existingErr, partialErr error
	var both sync.WaitGroup
	both.Go(func() { existing, existingErr = f.dst.Lstat(f.it.to) })
	both.Go(func() { partial, partialErr = f.dst.Lstat(f.part) })
	both.Wait()
	for _, err := range []error{existingErr, partialErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, failf(err, "examine the existing file")
		}
	}
	switch {
	case existingErr != nil:
		existing = nil
	case existing.IsDir():
		return nil, nil, errors.New("a directory has this name")
	case !isRegular(existing) && !isLink(existing):
		return nil, nil, fmt.Errorf("%s has this name, and cp does not replace it", kindOf(existing.Mode()))
	}
	if partialErr != nil {
		partial = nil
	}
	return existing, partial, nil
}

// isThere reports whether the target has the same content already.
func (f *fileCopy) isThere(existing fs.FileInfo) (bool, error) {
	if !isRegular(existing) || existing.Size() != f.size {
		return false, nil
	}
	shell, err := f.session.hasher()
	if err != nil {
		return false, err
	}
	if shell == nil {
		if f.result.Check = CheckSize; !f.Preserve || existing.ModTime().Unix() != f.it.info.ModTime().Unix() {
			return false, nil
		}
	} else {
		sum, same, err := f.compare(f.it.to, f.size)
		if err != nil || !same {
			return false, err
		}
		f.result.SHA256, f.result.Check = sum, CheckSHA256
	}
	f.count(f.size)
	if f.Preserve {
		if mode := f.it.info.Mode() & permissions; mode != existing.Mode()&permissions {
			if err := f.dst.Chmod(f.it.to, mode); err != nil {
				return false, failf(err, "set its mode")
			}
		}
		if existing.ModTime().Unix() != f.it.info.ModTime().Unix() {
			if err := f.dst.Chtimes(f.it.to, f.it.info.ModTime()); err != nil {
				return false, failf(err, "set its time")
			}
		}
	}
	f.result.State = Unchanged
	return true, nil
}

// begin opens the partial file, and returns where to continue and the hash of the bytes before.
func (f *fileCopy) begin(partial fs.FileInfo) (out writer, at int64, sum hash.Hash, err error) {
	sum = sha256.New()
	if partial != nil && isRegular(partial) {
		at, err = f.verified(resumeAt(partial.Size(), f.size))
		if err != nil {
			return nil, 0, nil, err
		}
	}
	if err := f.room(at, partial); err != nil {
		return nil, 0, nil, err
	}
	if at > 0 {
		if out, err = f.dst.Continue(f.part); err != nil {
			return nil, 0, nil, failf(err, "go on with %s", path.Base(f.part))
		}
		if err = out.Truncate(at); err == nil {
			err = f.hashLocal(sum, at)
		}
		if err != nil {
			_ = out.Close()
			return nil, 0, nil, failf(err, "go on with %s", path.Base(f.part))
		}
		f.result.Resumed = at
		f.count(at)
		return out, at, sum, nil
	}
	if partial != nil {
		if err := f.dst.Remove(f.part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, nil, failf(err, "remove an old %s", path.Base(f.part))
		}
	}
	if out, err = f.dst.Create(f.part); err != nil {
		err = failf(err, "make %s", path.Base(f.part))
		if errors.Is(err, fs.ErrPermission) {
			err = hint.Wrap(err, "the file is written beside its place and renamed: its directory must be writable")
		}
		return nil, 0, nil, err
	}
	return out, 0, sum, nil
}

// verified returns at if the partial file's bytes before it equal the source's, and 0 otherwise.
func (f *fileCopy) verified(at int64) (int64, error) {
	if at == 0 {
		return 0, nil
	}
	if shell, err := f.session.hasher(); err != nil || shell == nil {
		return 0, err
	}
	if _, same, err := f.compare(f.part, at); err != nil || !same {
		return 0, err
	}
	return at, nil
}

// room returns an error if the target has no room for the rest of the file.
func (f *fileCopy) room(at int64, partial fs.FileInfo) error {
	if f.size < largeFile {
		return nil
	}
	free, known := f.dst.Free()
	if known && partial != nil && isRegular(partial) {
		free += uint64(max(0, partial.Size()-at))
	}
	if need := f.size - at; known && uint64(need) > free { //nolint:gosec // at is at most the size
		return fmt.Errorf("no room: %s are free and %s are needed", units.Bytes(free), units.Bytes(need))
	}
	return nil
}

// protect keeps other users from reading a partial file that they will not be able to read when it is complete.
func (f *fileCopy) protect(out writer, existing fs.FileInfo) error {
	info, err := out.Stat()
	if err != nil {
		return failf(err, "look at %s", path.Base(f.part))
	}
	f.current, f.mode = info.Mode()&permissions, f.it.info.Mode()&permissions
	switch {
	case f.Preserve:
	case existing != nil && isRegular(existing):
		f.mode = existing.Mode() & permissions
	default:
		left, err := f.umaskLeaves()
		if err != nil {
			return err
		}
		f.mode &= left
	}
	if f.current&^f.mode&0o077 != 0 {
		f.current = 0o600
		if err := f.dst.Chmod(f.part, f.current); err != nil {
			return failf(err, "set the mode of %s", path.Base(f.part))
		}
	}
	return nil
}

// umaskLeaves returns the permissions that the target's umask leaves. A new file shows those for reading and writing.
func (f *fileCopy) umaskLeaves() (fs.FileMode, error) {
	known, current := f.umask.Load(), f.current
	if known == 0 {
		if f.result.Resumed > 0 { // its mode was changed
			probe := f.part + "~"
			out, err := f.dst.Create(probe)
			if err != nil {
				return 0, failf(err, "make %s", path.Base(probe))
			}
			info, err := out.Stat()
			_ = out.Close()
			if removeErr := f.dst.Remove(probe); err == nil {
				err = removeErr
			}
			if err != nil {
				return 0, failf(err, "try the umask")
			}
			current = info.Mode() & permissions
		}
		known = int64(current) + 1
		f.umask.Store(known)
	}
	left := fs.FileMode(known-1) & permissions
	return left | left&0o444>>2, nil
}
