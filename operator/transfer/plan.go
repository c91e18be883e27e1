package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Kind is what an item is.
type Kind string

// The kinds of items.
const (
	File      Kind = "file"
	Directory Kind = "directory"
	Link      Kind = "link"
	Unknown   Kind = "unknown" // the walk could not examine it
)

// item is one thing to copy.
type item struct {
	kind  Kind
	from  string // of the source
	to    string // below the target's directory
	size  int64
	info  fs.FileInfo // nil if the walk could not examine it
	err   error       // why it cannot be copied
	below *item       // the directory around it, if that is an item too

	created bool // the directory was made by this copy
	state   State
}

// walker finds the items below sources.
type walker struct {
	src               source
	allows            func(name string) error
	recursive, follow bool

	claimed map[string]string // place of a file: its source
	items   []*item
}

// readers bounds the directories that are listed at once: over a slow link a listing mostly waits.
const readers = 16

// add plans the copy of one source. to is its place below the target's directory, or "" to keep its name.
func (w *walker) add(ctx context.Context, from, to string) {
	info, err := w.src.Stat(from)
	if err != nil {
		w.items = append(w.items, &item{kind: Unknown, from: from, to: to, err: failf(err, "stat")})
		return
	}
	base := w.src.Base(from)
	if base == "." && !info.IsDir() {
		base = path.Base(strings.TrimSuffix(from, "/."))
	}
	if to == "" {
		if to = base; to != "." {
			if err := w.allows(to); err != nil {
				w.items = append(w.items, &item{kind: Unknown, from: from, to: to, err: err})
				return
			}
		}
	}
	top := w.item(from, to, info, nil)
	w.items = append(w.items, top)
	if top.kind != Directory || top.err != nil {
		return
	}
	var real []string
	if w.follow {
		if p, err := w.src.Real(from); err == nil {
			real = []string{p}
		}
	}
	level := []branch{{top, real}}
	for len(level) > 0 && ctx.Err() == nil {
		level = w.descend(level)
	}
}

// branch is a directory with the real paths of the directories above it, which reveal loops.
type branch struct {
	dir  *item
	real []string
}

// descend lists all directories of one level, and returns those of the next.
func (w *walker) descend(level []branch) (next []branch) {
	type listing struct {
		items []*item
		next  []branch
	}
	listings := make([]listing, len(level))
	var running sync.WaitGroup
	limit := make(chan struct{}, readers)
	for i, b := range level {
		limit <- struct{}{}
		running.Go(func() {
			defer func() { <-limit }()
			l := &listings[i]
			entries, err := w.src.ReadDir(b.dir.from)
			if err != nil {
				b.dir.err = failf(err, "list it")
				return
			}
			slices.SortFunc(entries, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
			last := ""
			for _, e := range entries {
				name := e.Name()
				if IsPartialName(name) {
					continue
				}
				it, real := w.entry(b, name, e)
				if name == last {
					it.err = errors.New("its directory names it twice")
				}
				last = name
				l.items = append(l.items, it)
				if it.kind == Directory && it.err == nil {
					l.next = append(l.next, branch{it, real})
				}
			}
		})
	}
	running.Wait()
	for _, l := range listings {
		for _, it := range l.items {
			if it.kind == File && it.err == nil {
				w.claim(it)
			}
		}
		w.items = append(w.items, l.items...)
		next = append(next, l.next...)
	}
	return next
}

// entry plans one name of a directory.
func (w *walker) entry(b branch, name string, info fs.FileInfo) (*item, []string) {
	from, to := w.src.Join(b.dir.from, name), path.Join(b.dir.to, name)
	if err := w.allows(name); err != nil {
		return &item{kind: Unknown, from: from, to: to, err: err, below: b.dir}, nil
	}
	real := b.real
	if w.follow {
		if isLink(info) {
			followed, err := w.src.Stat(from)
			if err != nil {
				return &item{kind: Unknown, from: from, to: to, err: failf(err, "follow the link"), below: b.dir}, nil
			}
			info = followed
		}
		if info.IsDir() {
			p, err := w.src.Real(from)
			if err != nil {
				return &item{kind: Unknown, from: from, to: to, err: failf(err, "follow the link"), below: b.dir}, nil
			}
			if slices.Contains(real, p) {
				return &item{kind: Unknown, from: from, to: to, err: errors.New("the link leads back to a directory above it"), below: b.dir}, nil
			}
			real = append(slices.Clip(real), p)
		}
	}
	return w.item(from, to, info, b.dir), real
}

// item plans a file, a directory or a link.
func (w *walker) item(from, to string, info fs.FileInfo, below *item) *item {
	it := &item{from: from, to: to, info: info, below: below}
	switch {
	case info.IsDir():
		it.kind = Directory
		if !w.recursive {
			it.err = hint.New("it is a directory", "-r copies directories")
		}
	case isLink(info):
		it.kind = Link
	case isRegular(info):
		it.kind, it.size = File, info.Size()
		if below == nil {
			w.claim(it)
		}
	default:
		it.kind = Unknown
		it.err = fmt.Errorf("it is not a file, directory or link, but %s", kindOf(info.Mode()))
	}
	return it
}

// claim keeps two sources from being written to the same place.
func (w *walker) claim(it *item) {
	if other, taken := w.claimed[it.to]; taken {
		it.err = fmt.Errorf("%s is copied to the same place", other)
		return
	}
	w.claimed[it.to] = it.from
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
