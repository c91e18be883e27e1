package transfer

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Check is a way to verify a copied file's content.
type Check string

// The checks. CheckAuto is CheckSHA256 if a shell can hash, and otherwise CheckSize.
const (
	CheckAuto   Check = "auto"
	CheckSHA256 Check = "sha256" // hashed at both ends
	CheckRead   Check = "read"   // read back through the tunnel, and hashed here
	CheckSize   Check = "size"
)

// Options are the user's choices.
type Options struct {
	Recursive bool  // copy directories
	Preserve  bool  // times, and modes in spite of the umask
	Follow    bool  // copy the targets of links
	Check     Check // "" is CheckAuto
}

// State is the outcome of an item.
type State string

// The states.
const (
	Copied    State = "copied"
	Unchanged State = "unchanged" // the target had it already
	Failed    State = "failed"

	begun State = "begun" // a directory in the making
)

// Result is the outcome of one file, directory or link.
type Result struct {
	Kind    Kind
	Source  Location
	Target  Location
	State   State
	Size    int64  // of the file
	Sent    int64  // bytes that went through the connection
	Resumed int64  // where the copy continued a verified partial file; 0 if there was none
	SHA256  []byte // of the content, nil if it was not hashed
	Check   Check  // that verified the copy; "" if none did
	Err     error  // if it failed
}

// Progress is a copy's progress.
type Progress struct {
	Files, TotalFiles int
	Bytes, TotalBytes int64  // Bytes were copied or were there already
	Sent              int64  // through the connection
	Current           string // the file that began last
	Verifying         bool   // only hashes are under way
}

// ErrLost means that the connection ended before everything was copied. [Copier.Run] goes on with another session.
var ErrLost = errors.New("the connection was lost")

// Copier copies sources of one machine to a directory of another.
type Copier struct {
	Options

	// Sources and Target hold what the user wrote; one side is remote. Pattern characters in remote sources select
	// files.
	Sources []Location
	Target  Location

	// Many says that there are more sources than these, so that the target must be a directory.
	Many bool
	// Claimed, if not nil, is shared by all copiers that write to the same place.
	Claimed map[string]string
	// Report gets the outcome of each item, one call at a time.
	Report func(Result)

	reporting sync.Mutex
	items     []*item // nil: not planned yet
	dir, name string  // the target's directory, and the one source's name in it or ""
	failures  atomic.Int64
	runs      int

	umask atomic.Int64 // 1 + the permissions that the target's umask leaves of 0666; 0 while unknown

	bytes, sent, total    atomic.Int64
	files, pumping, tests atomic.Int64
	totalFiles            int64
	current               atomic.Pointer[string]
}

// Progress returns the copy's progress.
func (c *Copier) Progress() Progress {
	p := Progress{
		Files: int(c.files.Load()), TotalFiles: int(atomic.LoadInt64(&c.totalFiles)),
		Bytes: c.bytes.Load(), TotalBytes: c.total.Load(), Sent: c.sent.Load(), Verifying: c.tests.Load() > 0 && c.pumping.Load() == 0,
	}
	if current := c.current.Load(); current != nil {
		p.Current = *current
	}
	return p
}

// Failures returns the number of items that could not be copied.
func (c *Copier) Failures() int { return int(c.failures.Load()) }

// upload reports whether files go to the other machine.
func (c *Copier) upload() bool { return c.Target.IsRemote() }

// Run copies the remaining items over a session. It reports an item that cannot be copied, and goes on with the rest.
// It returns an error that wraps [ErrLost] if the session ended, the cause of ctx, or the reason why it can copy
// nothing at all.
func (c *Copier) Run(ctx context.Context, s *Session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, s.Close) // requests take no context
	defer stop()
	r := &run{Copier: c, session: s, lose: cancel}
	c.runs++
	err := r.all(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil && isLost(err) {
		return ErrLost
	}
	return err
}

// run is one run of a copier, over one session.
type run struct {
	*Copier

	session *Session
	src     source
	dst     target
	lose    context.CancelCauseFunc
	large   sync.Mutex // one large file is moved at a time
}

func (r *run) all(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	if t, ok := r.dst.(*localTarget); ok {
		defer t.Close()
	}
	if r.items == nil {
		if err := r.plan(ctx); err != nil {
			return err
		}
	}
	if err := r.directories(ctx); err != nil {
		return err
	}
	var others []*item
	r.each(ctx, func(yield func(*item) bool) {
		for _, it := range r.items {
			if it.kind != Directory && it.kind != File {
				others = append(others, it)
			} else if it.kind == File && !yield(it) {
				return
			}
		}
	}, r.file)
	r.each(ctx, slices.Values(others), r.link)
	r.each(ctx, func(yield func(*item) bool) {
		// Directories come last: their content changes their times, and their modes may forbid writing.
		for _, it := range slices.Backward(r.items) {
			if it.kind == Directory && !yield(it) {
				return
			}
		}
	}, r.finishDirectory)
	return nil
}

// workers bounds the small files that are copied at once: each mostly waits.
const workers = 16

// each calls f for the unfinished items, some at a time, until the connection is lost.
func (r *run) each(ctx context.Context, items func(func(*item) bool), f func(context.Context, *item) Result) {
	var running sync.WaitGroup
	limit := make(chan struct{}, workers)
	for it := range items {
		if it.state != "" {
			continue
		}
		select {
		case limit <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-limit }()
			r.end(ctx, it, f(ctx, it))
		})
	}
	running.Wait()
}

// end records the outcome of an item.
func (r *run) end(ctx context.Context, it *item, result Result) {
	switch {
	case result.State == begun:
		return
	case result.State != "":
	case ctx.Err() != nil:
		return // the next session continues it
	case isLost(result.Err):
		r.lose(ErrLost)
		return
	default:
		result.State = Failed
	}
	it.state = result.State
	result.Kind, result.Source, result.Target = it.kind, r.sourceOf(it), r.targetOf(it)
	r.reporting.Lock()
	defer r.reporting.Unlock()
	if it.kind == File {
		r.files.Add(1)
	}
	if it.state == Failed {
		r.failures.Add(1)
		if it.below != nil && it.below.state == Failed && it.err == nil {
			return // reported already
		}
	}
	r.Report(result)
}

// open finds the target's directory and gives each side its access to files.
func (r *run) open() error {
	s := r.session
	if r.upload() {
		r.src = localSource{}
	} else {
		r.src = &remote{s.c}
	}
	if r.items == nil {
		if err := r.place(); err != nil {
			return err
		}
	}
	if r.upload() {
		r.dst = &remoteTarget{remote{s.c}, r.dir}
		return nil
	}
	t, err := openLocalTarget(r.dir)
	if err != nil {
		return failf(err, "open the directory %s", r.dir)
	}
	r.dst = t
	return nil
}

// place finds out whether the target is a directory or the copy's name.
func (r *run) place() error {
	side, to := source(localSource{}), r.Target.Path
	if r.upload() {
		side, to = &remote{r.session.c}, r.session.path(to)
	}
	info, err := side.Stat(to)
	switch {
	case err == nil && info.IsDir():
		r.dir, r.name = to, ""
		return nil
	case err == nil:
		// If the target is a link to a file, the copy replaces that file.
		if l, err := side.Lstat(to); err == nil && isLink(l) {
			if to, err = followed(side, to); err != nil {
				return failf(err, "follow the link %s", r.Target)
			}
		}
	case !errors.Is(err, fs.ErrNotExist):
		return failf(err, "look at %s", r.Target)
	}
	if r.Many || endsAsDirectory(r.Target.Path) || side.Base(to) == "." {
		why := "there is no directory "
		if err == nil {
			why = "this is not a directory: "
		}
		return hint.New(why+r.Target.String(), "make it first, or leave out the / at its end to give one copy that name")
	}
	if r.upload() {
		r.dir, r.name = path.Split(to)
	} else {
		r.dir, r.name = splitLocal(to)
	}
	parent, err := side.Stat(r.dir)
	if err == nil && !parent.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return failf(err, "the directory of %s", r.Target)
	}
	return nil
}

// maxLinks bounds the links that lead to a file, as in Linux.
const maxLinks = 40

// followed returns the path that path leads to through links. Some SFTP servers' realpath does not follow them.
func followed(side source, path string) (string, error) {
	for range maxLinks {
		info, err := side.Lstat(path)
		if err != nil || !isLink(info) {
			return path, err
		}
		to, err := side.Readlink(path)
		if err != nil {
			return "", err
		}
		path = side.Beside(path, to)
	}
	return "", errors.New("too many links")
}

// plan finds the items.
func (r *run) plan(ctx context.Context) error {
	if r.Claimed == nil {
		r.Claimed = map[string]string{}
	}
	w := &walker{src: r.src, allows: r.dst.Allows, recursive: r.Recursive, follow: r.Follow, claimed: r.Claimed}
	var paths []string
	for _, l := range r.Sources {
		if r.upload() {
			paths = append(paths, l.Path)
			continue
		}
		found, err := expand(r.src, r.session.path(l.Path))
		if isLost(err) {
			return err
		}
		if err != nil {
			w.items = append(w.items, &item{kind: Unknown, from: l.Path, err: err})
			continue
		}
		paths = append(paths, found...)
	}
	if len(paths) > 1 && r.name != "" {
		return hint.New("several files cannot go to "+r.Target.String()+", which is not a directory", "make it first")
	}
	for _, p := range paths {
		w.add(ctx, p, r.name)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, it := range w.items {
		if isLost(it.err) {
			return it.err
		}
	}
	files := int64(0)
	for _, it := range w.items {
		if it.kind == File {
			files++
			r.total.Add(it.size)
		}
	}
	atomic.StoreInt64(&r.totalFiles, files)
	if r.items = w.items; r.items == nil {
		r.items = []*item{}
	}
	return nil
}

func (r *run) sourceOf(it *item) Location {
	if r.upload() {
		return Location{Path: it.from}
	}
	return Location{User: r.Sources[0].User, Host: r.Sources[0].Host, Path: it.from}
}

func (r *run) targetOf(it *item) Location {
	return Location{User: r.Target.User, Host: r.Target.Host, Path: r.dst.Full(it.to)}
}
