package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/filelock"
	"github.com/culvert-iot/culvert/internal/hint"
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

// ErrShared is the error of a state directory that another daemon uses: the two would resume each
// other's tunnels, and end them in turn.
var ErrShared = errors.New("another culvertd uses the state directory")

// store keeps pairs of tokens in a directory: one file each, mode 0600, replaced as a whole. It never
// fails: when the directory can't be used it says so once, and the daemon runs from memory. A goroutine
// of its own does the writing, so that no tunnel waits for a disk that hangs.
type store struct {
	dir   string // "": memory only
	thing string // whose pairs these are; "": not compared
	fs    fileSystem
	log   *slog.Logger
	spent *spentTokens

	disk    chan struct{} // filled while the directory is read or written; a lock that fake time understands
	finding chan struct{} // filled during a find: a flood of tokens must not leave one thread each in a disk that hangs

	mu      sync.Mutex // guards what follows; never held while the disk works
	cond    sync.Cond  // writing has become false
	pending map[fingerprint]*change
	writing bool
	closing bool
	retry   *time.Timer
	lock    io.Closer
	hangs   bool
	trouble Trouble
}

// Trouble says what is wrong with the state directory. The zero value is none.
type Trouble struct {
	Error string
	Hint  string
	Since time.Time
}

func newStore(dir, thing string, files fileSystem, log *slog.Logger) *store {
	s := &store{dir: dir, thing: thing, fs: files, log: log, spent: newSpentTokens(), disk: make(chan struct{}, 1), finding: make(chan struct{}, 1), pending: make(map[fingerprint]*change)}
	s.cond.L = &s.mu
	return s
}

func pairName(f fingerprint) string { return pairPrefix + f.String()[:16] + fileSuffix }

// report warns of the first failure after a success.
func (s *store) report(err error) {
	s.mu.Lock()
	before := s.trouble.Error
	switch {
	case err == nil:
		s.trouble = Trouble{}
	case before == "":
		s.trouble = Trouble{Error: err.Error(), Hint: s.remedy(err), Since: time.Now()}
	}
	s.mu.Unlock()
	switch {
	case err != nil && before == "":
		s.log.Warn("state directory cannot be used, tunnels will not survive a restart", "error", err, "reason", s.remedy(err))
	case err == nil && before != "":
		s.log.Info("state directory works again")
	}
}

// takeDisk waits for the directory, and returns how to give it back.
func (s *store) takeDisk() (release func()) {
	s.disk <- struct{}{}
	return func() { <-s.disk }
}

// NoAnswer is the trouble with a state directory whose disk hangs.
func NoAnswer(dir string) Trouble {
	return Trouble{Error: "it does not answer", Hint: "check the disk of " + dir}
}

// watchDisk reports a disk that takes longer than diskPatience, until the result is called.
func (s *store) watchDisk() (stop func()) {
	late := time.AfterFunc(diskPatience, func() {
		s.mu.Lock()
		first := !s.hangs
		s.hangs = true
		s.mu.Unlock()
		if first {
			s.log.Warn("state directory does not answer, tunnels go on from memory and are written later", "target", s.dir)
		}
	})
	began := time.Now()
	return func() {
		late.Stop()
		s.mu.Lock()
		hung := s.hangs
		s.hangs = false
		s.mu.Unlock()
		if hung {
			s.log.Info("state directory answers again", "target", s.dir, "duration", time.Since(began).Round(time.Millisecond))
		}
	}
}

// StateTrouble returns what is wrong with the state directory now.
func (m *Manager) StateTrouble() Trouble { return m.store.state() }

// state returns what is wrong now.
func (s *store) state() Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hangs && s.trouble.Error == "" {
		return NoAnswer(s.dir)
	}
	return s.trouble
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
	defer s.takeDisk()()
	defer s.watchDisk()()
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
		s.log.Warn("state directory is open to others, who could bring the device into tunnels of theirs", "error", hint.Line(err))
	}
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

// open locks the directory for this process. A directory that cannot be written has no lock; load reports
// it.
func (s *store) open() error {
	if s.dir == "" {
		return nil
	}
	defer s.watchDisk()()
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return nil
	}
	lock, err := s.fs.LockDir(s.dir)
	if errors.Is(err, filelock.ErrLocked) {
		return hint.Wrap(fmt.Errorf("%w: %s", ErrShared, s.dir), "give each culvertd its own tunnel.state_dir, or stop the other one")
	}
	if err != nil {
		s.log.Debug("state directory cannot be locked", "error", err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lock = lock
	return nil
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

// find reads one pair, while load may be reading all of them. It returns nil if there is none, or if load is to set its file
// aside.
func (s *store) find(f fingerprint) *pair {
	if s.dir == "" {
		return nil
	}
	p, err := s.readPair(pairName(f))
	if err != nil || p.key() != f {
		return nil
	}
	return &p
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

// setAside renames a file that can't be understood, and keeps the latest few.
func (s *store) setAside(name string, why error) {
	path := filepath.Join(s.dir, name)
	s.log.Warn("state file set aside", "target", path+badSuffix, "error", hint.Line(why))
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
	slices.SortFunc(all, func(a, b bad) int { return b.when.Compare(a.when) })
	for _, b := range all[min(maxBad, len(all)):] {
		_ = s.fs.Remove(b.path)
	}
}
