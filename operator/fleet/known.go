package fleet

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/cachefile"
	"github.com/culvert-iot/culvert/services"
)

// Limits of the names that are kept for a shell's completion.
const (
	knownLife  = 5 * time.Minute // then Names asks AWS again
	knownRetry = time.Minute     // after a failure
	knownWait  = time.Second     // for AWS: a person has pressed Tab
	knownSize  = 4 << 20         // bytes of a file, about 50,000 names
)

// Known are the names of an account's things, remembered for a shell's completion, which must be quick and may miss new
// things.
type Known struct{ file cachefile.File }

// NewKnown returns the names that belong to a key. The key must contain everything that selects the account and region.
func NewKnown(key ...string) *Known { return &Known{cachefile.Open("things", key...)} }

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
	names = slices.DeleteFunc(names, isNoName)
	slices.Sort(names)
	names = slices.Compact(names)
	k.file.Write(strings.Join(names, "\n")+"\n", asked)
	return names
}

// read returns the names of the file, and whether they are fresh.
func (k *Known) read() (names []string, fresh bool) {
	text, written := k.file.Read(knownSize)
	age := time.Since(written)
	return slices.DeleteFunc(strings.Split(text, "\n"), isNoName), age >= 0 && age < knownLife
}

// isNoName reports whether s cannot be a thing's name: no such text may reach a shell. AWS has the same rule for
// names of things and of services.
func isNoName(s string) bool { return !services.ValidName(s) }
