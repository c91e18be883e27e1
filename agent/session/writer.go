package session

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

const (
	// diskPatience is how long a tunnel waits for the disk before it goes on from memory.
	diskPatience = time.Second
	// rewriteEvery is how often what could not be written is tried again.
	rewriteEvery = 10 * time.Second
	// maxUnwritten bounds the changes that wait for a broken disk.
	maxUnwritten = 256
)

// change is what is to become of one pair's file.
type change struct {
	pair  *pair         // nil: remove the file
	spent bool          // write the list of spent tokens first
	tried chan struct{} // closed once the change was tried
}

// save writes p, replacing what was there. The result is closed when that was tried; what fails is tried
// again every few seconds.
func (s *store) save(p pair) <-chan struct{} { return s.put(p.key(), &change{pair: &p}) }

// end remembers the token as over, then removes its pair: in this order, so that a crash between the two
// leaves a pair that load knows to be over.
func (s *store) end(f fingerprint, now time.Time) <-chan struct{} {
	s.spent.add(f, now)
	return s.put(f, &change{spent: true})
}

// forget removes a pair whose token was never used.
func (s *store) forget(f fingerprint) { s.put(f, &change{}) }

// put hands a change to the writer. A slow disk makes one change of several to the same pair.
func (s *store) put(f fingerprint, c *change) <-chan struct{} {
	c.tried = make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		close(c.tried)
		return c.tried
	}
	if old := s.pending[f]; old != nil {
		c.spent = c.spent || old.spent
		defer closeOnce(old.tried) // the new change is tried in its place
	} else if len(s.pending) >= maxUnwritten {
		close(c.tried)
		return c.tried
	}
	s.pending[f] = c
	s.startWriter()
	return c.tried
}

// closeOnce closes a channel that one goroutine at a time may close.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// startWriter is called with mu held.
func (s *store) startWriter() {
	if s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
	if !s.writing && len(s.pending) > 0 {
		s.writing = true
		go s.write()
	}
}

// write is the goroutine that writes what is pending. It ends when nothing is, or nothing can be written.
func (s *store) write() {
	for {
		s.mu.Lock()
		if len(s.pending) == 0 {
			s.writing = false
			s.cond.Broadcast()
			s.mu.Unlock()
			return
		}
		batch := s.pending
		s.pending = make(map[fingerprint]*change)
		s.mu.Unlock()

		stop := s.watchDisk()
		failed, err := s.apply(batch)
		stop()
		s.report(err)

		s.mu.Lock()
		for f, c := range failed {
			if s.pending[f] == nil {
				s.pending[f] = c
			} else {
				s.pending[f].spent = s.pending[f].spent || c.spent
			}
		}
		for _, c := range batch {
			closeOnce(c.tried)
		}
		if len(failed) > 0 {
			s.writing = false
			if !s.closing {
				s.retry = time.AfterFunc(rewriteEvery, s.rewrite)
			}
			s.cond.Broadcast()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

func (s *store) rewrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startWriter()
}

// apply makes the changes, and returns those that failed.
func (s *store) apply(batch map[fingerprint]*change) (failed map[fingerprint]*change, first error) {
	defer s.takeDisk()()
	failed = make(map[fingerprint]*change)
	var listErr error
	for _, c := range batch {
		if c.spent {
			listErr = s.replace(endedName, s.spent.encode)
			break
		}
	}
	first = listErr
	for f, c := range batch {
		var err error
		if c.pair != nil {
			err = s.replace(pairName(f), c.pair.encode)
		} else {
			err = s.remove(pairName(f))
		}
		if err == nil && c.spent {
			err = listErr
		}
		if err != nil {
			failed[f] = c
			if first == nil {
				first = err
			}
		}
	}
	return failed, first
}

func (s *store) remove(name string) error {
	err := s.fs.Remove(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// replace writes a temporary file, syncs it and renames it over name, so that at every moment the whole
// old or the whole new content is there.
func (s *store) replace(name string, content func() ([]byte, error)) (err error) {
	data, err := content()
	if err != nil {
		return err
	}
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	temp := path + tempSuffix
	if err := s.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fs.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.fs.Remove(temp)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.fs.Rename(temp, path); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// close waits until the writer has tried everything once more, or ctx ends, and reports whether nothing
// is left to be written.
func (s *store) close(ctx context.Context) bool {
	s.mu.Lock()
	s.closing = true
	s.startWriter()
	s.mu.Unlock()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cond.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing && ctx.Err() == nil {
		s.cond.Wait()
	}
	if s.lock != nil && !s.writing {
		_ = s.lock.Close()
		s.lock = nil
	}
	return !s.writing && len(s.pending) == 0
}
