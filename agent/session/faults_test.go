package session

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/trust"
)

// faults is a file system that fails, or dies as at a power failure, at a chosen operation.
type faults struct {
	osFiles
	mu    sync.Mutex       // guards fail
	fail  map[string]error // by operation
	slow  time.Duration    // of a sync
	dieAt int              // operation that dies, counted from 1; 0: never
	done  int
	dirty map[string]bool // written and not synced
}

var errDied = errors.New("power failure")

func (f *faults) step(op string) error {
	f.done++
	if f.dieAt > 0 && f.done >= f.dieAt {
		return errDied
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[op]
}

// mend makes an operation succeed from now on.
func (f *faults) mend(op string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.fail, op)
}

func (f *faults) MkdirAll(path string, perm fs.FileMode) error {
	if err := f.step("mkdir"); err != nil {
		return err
	}
	return f.osFiles.MkdirAll(path, perm)
}

func (f *faults) ReadDir(path string) ([]fs.DirEntry, error) {
	if err := f.step("readdir"); err != nil {
		return nil, err
	}
	return f.osFiles.ReadDir(path)
}

func (f *faults) Read(path string, limit int64) (trust.Private, error) {
	if err := f.step("read"); err != nil {
		return trust.Private{}, err
	}
	return f.osFiles.Read(path, limit)
}

func (f *faults) Create(path string) (file, error) {
	if err := f.step("create"); err != nil {
		return nil, err
	}
	real, err := f.osFiles.Create(path)
	if err != nil {
		return nil, err
	}
	if f.dirty == nil {
		f.dirty = make(map[string]bool)
	}
	f.dirty[path] = true
	return &faultyFile{f, real, path}, nil
}

func (f *faults) Rename(from, to string) error {
	if err := f.step("rename"); err != nil {
		return err
	}
	if f.dirty[from] {
		delete(f.dirty, from)
		f.dirty[to] = true
	}
	return f.osFiles.Rename(from, to)
}

func (f *faults) Remove(path string) error {
	if err := f.step("remove"); err != nil {
		return err
	}
	delete(f.dirty, path)
	return f.osFiles.Remove(path)
}

func (f *faults) SyncDir(path string) error {
	if err := f.step("syncdir"); err != nil {
		return err
	}
	return f.osFiles.SyncDir(path)
}

// powerFailure loses what was not synced: such files keep their name and half of their content.
func (f *faults) powerFailure(t *testing.T) {
	for path := range f.dirty {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
}

type faultyFile struct {
	f    *faults
	real file
	path string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.f.step("write"); err != nil {
		n, _ := f.real.Write(p[:len(p)/2]) // as a full disk does
		return n, err
	}
	return f.real.Write(p)
}

func (f *faultyFile) Sync() error {
	time.Sleep(f.f.slow)
	if err := f.f.step("sync"); err != nil {
		return err
	}
	delete(f.f.dirty, f.path)
	return f.real.Sync()
}

func (f *faultyFile) Close() error {
	err := f.real.Close()
	if stepErr := f.f.step("close"); stepErr != nil {
		return stepErr
	}
	return err
}
