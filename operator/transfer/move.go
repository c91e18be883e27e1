package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"syscall"

	"github.com/culvert-iot/culvert/internal/hint"
)

// move moves the bytes behind at and adds them to sum.
func (f *fileCopy) move(out writer, at int64, sum hash.Hash) error {
	if f.size >= largeFile {
		f.large.Lock()
		defer f.large.Unlock()
	}
	f.pumping.Add(1)
	defer f.pumping.Add(-1)
	read := func(p *piece) error {
		n, err := f.in.ReadAt(p.data, p.off)
		if n < len(p.data) {
			if err == nil || isEOF(err) {
				return errors.New("it became shorter while it was copied: copy it again")
			}
			return failf(err, "read it")
		}
		return nil
	}
	write := func(p *piece) error {
		if _, err := out.WriteAt(p.data, p.off); err != nil {
			return &writeError{err}
		}
		return nil
	}
	moved := func(p *piece) {
		f.result.Sent += int64(len(p.data))
		f.sent.Add(int64(len(p.data)))
		f.count(int64(len(p.data)))
	}
	var p pump
	if f.upload() {
		p = pump{prepare: func(p *piece) error {
			err := read(p)
			sum.Write(p.data)
			return err
		}, request: write, finish: func(p *piece) error {
			moved(p)
			return nil
		}}
	} else {
		p = pump{request: read, finish: func(p *piece) error {
			sum.Write(p.data)
			if err := write(p); err != nil {
				return err
			}
			moved(p)
			return nil
		}}
	}
	err := p.run(f.ctx, f.session.slots, at, f.size)
	if w, ok := errors.AsType[*writeError](err); ok {
		return f.writeFailed(out, w.error)
	}
	return err
}

type writeError struct{ error }

func (w *writeError) Unwrap() error { return w.error }

// writeFailed explains why a write failed. It removes a partial file that fills the disk.
func (f *fileCopy) writeFailed(out writer, err error) error {
	if f.ctx.Err() != nil || isLost(err) {
		return err
	}
	full := errors.Is(err, syscall.ENOSPC)
	if !full && reason(err) == errFailure { //nolint:errorlint // reason returns it unwrapped
		free, known := f.dst.Free()
		full = known && free < packetSize
	}
	if !full {
		return failf(err, "write it")
	}
	_ = out.Close()
	if err := f.dst.Remove(f.part); err != nil {
		return fmt.Errorf("the disk is full, and the partial file could not be removed: %w", reason(err))
	}
	return errors.New("the disk is full; the partial file was removed")
}

// finish verifies the partial file and gives it its mode, times and name.
func (f *fileCopy) finish(out writer, sum hash.Hash) error {
	f.result.SHA256 = sum.Sum(nil)
	if err := out.Close(); err != nil {
		return f.writeFailed(out, err)
	}
	if err := f.verify(); err != nil {
		return err
	}
	if f.mode != f.current {
		if err := f.dst.Chmod(f.part, f.mode); err != nil {
			return failf(err, "set its mode")
		}
	}
	if f.Preserve {
		if err := f.dst.Chtimes(f.part, f.it.info.ModTime()); err != nil {
			return failf(err, "set its time")
		}
	}
	if err := f.dst.Rename(f.part, f.it.to); err != nil {
		return failf(err, "rename the finished file")
	}
	f.result.State = Copied
	return nil
}

// errDiffers means that the hashes of both ends differ.
var errDiffers = errors.New("the SHA-256 of the copy is not that of the source")

// verify compares the whole file at both ends.
func (f *fileCopy) verify() error {
	f.tests.Add(1)
	defer f.tests.Add(-1)
	var there []byte
	shell, err := f.session.hasher()
	if err != nil {
		return err
	}
	check := f.Check
	switch {
	case check == CheckRead || check == CheckSize:
	case shell == nil:
		check = CheckSize
	default:
		check = CheckSHA256
	}
	switch check {
	case CheckSize:
		f.result.SHA256, f.result.Check = nil, check
		var info fs.FileInfo
		if info, err = f.dst.Lstat(f.part); err != nil {
			return failf(err, "stat")
		}
		if info.Size() != f.size {
			return fmt.Errorf("the copy has %d bytes, and the source %d: copy it again", info.Size(), f.size)
		}
		return nil
	case CheckRead:
		f.result.Check = check
		there, err = f.readBack()
	default:
		f.result.Check = CheckSHA256
		there, err = shell.sum(f.remotePath(f.part), f.size)
	}
	if err != nil {
		return failf(err, "verify it")
	}
	if !bytes.Equal(there, f.result.SHA256) {
		if err := f.dst.Remove(f.part); err != nil {
			return fmt.Errorf("%w, and it could not be removed: %w", errDiffers, reason(err))
		}
		return hint.Wrap(errDiffers, "it changed while it was copied, or a disk or a memory is failing; nothing was replaced")
	}
	return nil
}
