package session

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/sorting"
)

const (
	pairPrefix = "tunnel-"
	fileSuffix = ".json"
	tempSuffix = ".tmp"
	badSuffix  = ".bad"
	endedName  = "ended" + fileSuffix

	// maxFile bounds what is read of one state file; a pair has some 6 KiB at most, ended.json 70.
	maxFile = 256 << 10
	// maxBad bounds the files that were set aside: enough to look at, too few to fill a small disk.
	maxBad = 5
)

// store keeps pairs of tokens in a directory: one file each, mode 0600, replaced as a whole. It never
// fails: when the directory can't be used it says so once, and the daemon runs from memory.
type store struct {
	dir   string // "": memory only
	fs    fileSystem
	log   *slog.Logger
	spent *spentTokens

	mu     sync.Mutex // one writer at a time
	warned bool       // since the last success
}

func newStore(dir string, files fileSystem, log *slog.Logger) *store {
	return &store{dir: dir, fs: files, log: log, spent: newSpentTokens()}
}

func pairName(f fingerprint) string { return pairPrefix + f.String()[:16] + fileSuffix }

// save writes p, replacing what was there.
func (s *store) save(p pair) {
	if s.dir == "" {
		return
	}
	data, err := p.encode()
	if err == nil {
		err = s.replace(pairName(p.key()), func() ([]byte, error) { return data, nil })
	}
	s.report(err)
}

// end remembers the token as over, then removes its pair: in this order, so that a crash between the two
// leaves a pair that load knows to be over.
func (s *store) end(f fingerprint, now time.Time) {
	s.spent.add(f, now)
	if s.dir == "" {
		return
	}
	err := s.replace(endedName, s.spent.encode)
	s.mu.Lock()
	removeErr := s.fs.Remove(filepath.Join(s.dir, pairName(f)))
	if removeErr == nil {
		removeErr = s.fs.SyncDir(s.dir)
	}
	s.mu.Unlock()
	if err == nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = removeErr
	}
	s.report(err)
}

// replace writes a temporary file, syncs it and renames it over name, so that at every moment the whole
// old or the whole new content is there. content is asked while no other writer is at work.
func (s *store) replace(name string, content func() ([]byte, error)) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// report warns of the first failure after a success.
func (s *store) report(err error) {
	s.mu.Lock()
	first := err != nil && !s.warned
	s.warned = err != nil
	s.mu.Unlock()
	if first {
		s.log.Warn("state directory cannot be used, tunnels will not survive a restart", "error", err, "reason", s.remedy(err))
	}
}

func (s *store) remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space for " + s.dir
	case errors.Is(err, syscall.EROFS):
		return "set tunnel.state_dir to a directory on a writable file system, or to \"\" to run from memory"
	case errors.Is(err, fs.ErrPermission):
		return "let culvertd's user write to " + s.dir + " (mode 0700), or set tunnel.state_dir"
	case errors.Is(err, syscall.ENOTDIR):
		return s.dir + " is not a directory: set tunnel.state_dir to one"
	default:
		return "check " + s.dir + ", or set tunnel.state_dir to \"\" to run from memory"
	}
}

// load returns the pairs of the directory and fills the list of ended tokens. Temporary files of a
// crash are removed; what can't be understood is set aside.
func (s *store) load(now time.Time) []pair {
	if s.dir == "" {
		return nil
	}
	err := s.fs.MkdirAll(s.dir, 0o700)
	var entries []fs.DirEntry
	if err == nil {
		entries, err = s.fs.ReadDir(s.dir)
	}
	s.report(err)
	if err != nil {
		return nil
	}
	if err := s.fs.CheckDir(s.dir); err != nil {
		s.log.Warn("state directory is open to others, who could bring the device into tunnels of theirs", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var pairs []pair
	for _, entry := range entries {
		name := entry.Name()
		isPair := strings.HasPrefix(name, pairPrefix)
		if !isPair && !strings.HasPrefix(name, endedName) {
			continue // not ours
		}
		switch {
		case strings.HasSuffix(name, tempSuffix):
			_ = s.fs.Remove(filepath.Join(s.dir, name))
		case name == endedName:
			if data, err := s.read(name); err != nil {
				s.setAside(name, err)
			} else if err := s.spent.decode(data, now); err != nil {
				s.setAside(name, err)
			}
		case isPair && strings.HasSuffix(name, fileSuffix):
			p, err := s.readPair(name)
			if err != nil {
				s.setAside(name, err)
				continue
			}
			pairs = append(pairs, p)
		}
	}
	return pairs
}

func (s *store) readPair(name string) (pair, error) {
	data, err := s.read(name)
	if err != nil {
		return pair{}, err
	}
	p, err := decodePair(data)
	if err != nil {
		return pair{}, err
	}
	if pairName(p.key()) != name {
		return pair{}, errors.New("its name does not belong to its token")
	}
	return p, nil
}

// read returns a file's content, after making sure that only its owner can read it.
func (s *store) read(name string) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	f, err := s.fs.Read(path, maxFile+1)
	if err != nil {
		return nil, err
	}
	if f.Was != 0 {
		s.log.Warn("state file was open to others, its mode is now 0600", "target", path, "reason", "its mode was "+f.Was.String())
	}
	if f.Mend != nil {
		s.log.Warn("mode of state file cannot be changed", "target", path, "error", f.Mend)
	}
	if len(f.Data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return f.Data, nil
}

// setAside renames a file that can't be understood, keeping the latest few for whoever wants to know.
func (s *store) setAside(name string, why error) {
	path := filepath.Join(s.dir, name)
	s.log.Warn("state file set aside", "target", path+badSuffix, "error", why)
	if err := s.fs.Rename(path, path+badSuffix); err != nil {
		s.log.Warn("state file cannot be set aside", "target", path, "error", err)
		return
	}
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return
	}
	type bad struct {
		path string
		when time.Time
	}
	var all []bad
	for _, entry := range entries {
		n := entry.Name()
		if !strings.HasSuffix(n, badSuffix) || !strings.HasPrefix(n, pairPrefix) && !strings.HasPrefix(n, endedName) {
			continue
		}
		b := bad{path: filepath.Join(s.dir, n)}
		if info, err := entry.Info(); err == nil {
			b.when = info.ModTime()
		}
		all = append(all, b)
	}
	sorting.Func(all, func(a, b bad) int { return b.when.Compare(a.when) })
	for _, b := range all[min(maxBad, len(all)):] {
		_ = s.fs.Remove(b.path)
	}
}
