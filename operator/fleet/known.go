package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Limits of the names that are kept for a shell's completion.
const (
	knownLife  = 5 * time.Minute // then Names asks AWS again
	knownRetry = time.Minute     // after a failure
	knownWait  = time.Second     // for AWS: a person has pressed Tab
	knownSize  = 4 << 20         // bytes of a file, about 50,000 names
)

// Known are the names of an account's things, remembered in a file below the user's cache directory, for the user alone.
// It serves a shell's completion, which must be quick and may miss what is new.
type Known struct{ file string }

// NewKnown returns the names that belong to a key. The key must contain everything that selects the account and region.
func NewKnown(key ...string) *Known {
	base, err := os.UserCacheDir()
	if err != nil {
		return &Known{}
	}
	sum := sha256.Sum256([]byte(strings.Join(key, "\x00")))
	return &Known{filepath.Join(base, "culvert", "things", hex.EncodeToString(sum[:16]))}
}

// Names returns the known names, sorted. If they are older than 5 minutes, it fetches new ones from the account that
// load returns, for at most a second. If that fails, the old and the fetched names stay for a minute. It returns no
// error: a completion has no place to show one.
func (k *Known) Names(ctx context.Context, load func(context.Context) (aws.Config, error)) []string {
	return k.refreshed(ctx, func(ctx context.Context) iter.Seq2[[]string, error] {
		cfg, err := load(ctx)
		if err != nil {
			return func(yield func([]string, error) bool) { yield(nil, err) }
		}
		return Things(ctx, cfg, Filter{})
	})
}

func (k *Known) refreshed(ctx context.Context, list func(context.Context) iter.Seq2[[]string, error]) []string {
	old, fresh := k.read()
	if fresh {
		return old
	}
	ctx, cancel := context.WithTimeout(ctx, knownWait)
	defer cancel()
	var names []string
	asked := time.Now()
	for page, err := range list(ctx) {
		if err != nil {
			names = append(names, old...)
			asked = asked.Add(knownRetry - knownLife)
			break
		}
		names = append(names, page...)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !isName(n) })
	slices.Sort(names)
	names = slices.Compact(names)
	k.write(names, asked)
	return names
}

// read returns the names of the file, and whether they are fresh.
func (k *Known) read() (names []string, fresh bool) {
	info, err := os.Lstat(k.file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > knownSize {
		return nil, false
	}
	text, err := os.ReadFile(k.file)
	if err != nil {
		return nil, false
	}
	names = slices.DeleteFunc(strings.Split(string(text), "\n"), func(n string) bool { return !isName(n) })
	age := time.Since(info.ModTime())
	return names, age >= 0 && age < knownLife
}

// write is best effort: without a file, Names asks AWS each time.
func (k *Known) write(names []string, asked time.Time) {
	dir := filepath.Dir(k.file)
	if k.file == "" || os.MkdirAll(dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return
	}
	_, err = f.WriteString(strings.Join(names, "\n") + "\n")
	if closeErr := f.Close(); err != nil || closeErr != nil ||
		os.Chtimes(f.Name(), asked, asked) != nil || os.Rename(f.Name(), k.file) != nil {
		_ = os.Remove(f.Name())
	}
}

// isName reports whether s can be a thing's name, by AWS's rule. No other text reaches a shell.
func isName(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-") == ""
}
