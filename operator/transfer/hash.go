package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
)

// remotePath is the whole path of the file on the other machine: the source, or the copy.
func (f *fileCopy) remotePath(written string) string {
	if f.upload() {
		return f.dst.Full(written)
	}
	return f.it.from
}

// compare hashes the first size bytes of the source and of a file at the target. It returns the sum if both are the
// same.
func (f *fileCopy) compare(at string, size int64) (sum []byte, same bool, err error) {
	shell, err := f.session.hasher()
	if err != nil || shell == nil {
		return nil, false, err
	}
	f.tests.Add(1)
	defer f.tests.Add(-1)
	var here, there []byte
	var hereErr, thereErr error
	var both sync.WaitGroup
	both.Go(func() { there, thereErr = shell.sum(f.remotePath(at), size) })
	both.Go(func() {
		h := sha256.New()
		if f.upload() {
			hereErr = f.hashLocal(h, size)
		} else {
			hereErr = f.hashTarget(h, at, size)
		}
		here = h.Sum(nil)
	})
	both.Wait()
	for _, err := range []error{hereErr, thereErr} {
		if isLost(err) || f.ctx.Err() != nil {
			return nil, false, err
		}
		if err != nil {
			return nil, false, nil
		}
	}
	return here, bytes.Equal(here, there), nil
}

// hashLocal adds the first size bytes of the file to h, from the copy that is on this machine.
func (f *fileCopy) hashLocal(h hash.Hash, size int64) error {
	if f.upload() {
		return hashFrom(f.ctx, h, f.in, size)
	}
	return f.hashTarget(h, f.part, size)
}

func (f *fileCopy) hashTarget(h hash.Hash, at string, size int64) error {
	in, err := f.dst.Open(at)
	if err != nil {
		return err
	}
	defer in.Close()
	return hashFrom(f.ctx, h, in, size)
}

func hashFrom(ctx context.Context, h hash.Hash, in io.ReaderAt, size int64) error {
	r := io.NewSectionReader(in, 0, size)
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		h.Write(buf[:n])
		size -= int64(n)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isEOF(err) && size == 0:
			return nil
		case isEOF(err):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}

// readBack hashes the other machine's file by reading it through the connection once more.
func (f *fileCopy) readBack() ([]byte, error) {
	in := f.in
	if f.upload() {
		var err error
		if in, err = f.dst.Open(f.part); err != nil {
			return nil, err
		}
		defer in.Close()
	}
	h := sha256.New()
	p := pump{
		request: func(p *piece) error {
			n, err := in.ReadAt(p.data, p.off)
			if n < len(p.data) && (err == nil || isEOF(err)) {
				return io.ErrUnexpectedEOF
			}
			if n == len(p.data) {
				return nil
			}
			return err
		},
		finish: func(p *piece) error {
			h.Write(p.data)
			f.sent.Add(int64(len(p.data)))
			return nil
		},
	}
	err := p.run(f.ctx, f.session.slots, 0, f.size)
	return h.Sum(nil), err
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
