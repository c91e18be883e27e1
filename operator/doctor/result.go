package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
)

// Status is how an item stands.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // works, and is hardly meant
	Failed  Status = "failed"  // keeps the thing from being reached
	Skipped Status = "skipped" // could not be found out
)

// Result is one item.
type Result struct {
	ID     string `json:"id"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is the outcome for one thing.
type Report struct {
	Thing   string    `json:"thing"`
	Well    bool      `json:"well"` // nothing failed
	Started time.Time `json:"started"`
	Results []Result  `json:"checks"`
}

// run collects results. Its methods are called by one goroutine.
type run struct {
	thing   string
	results []Result
	show    func(Result)

	limit time.Duration // of the present step; 0: there is none
	route *route        // of its calls
}

func (r *run) add(id string, status Status, remedy, format string, args ...any) {
	r.keep(Result{ID: id, Status: status, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (r *run) keep(result Result) {
	r.results = append(r.results, result)
	if r.show != nil {
		r.show(result)
	}
}

// aside returns what look reports, instead of showing it.
func (r *run) aside(look func()) []Result {
	results, show := r.results, r.show
	r.results, r.show = nil, nil
	look()
	found := r.results
	r.results, r.show = results, show
	return found
}

func (r *run) ok(id, format string, args ...any) { r.add(id, OK, "", format, args...) }

func (r *run) failed(id, remedy, format string, args ...any) {
	r.add(id, Failed, remedy, format, args...)
}

func (r *run) warn(id, remedy, format string, args ...any) {
	r.add(id, Warning, remedy, format, args...)
}

func (r *run) skipped(id, remedy, format string, args ...any) {
	r.add(id, Skipped, remedy, format, args...)
}

// unknown reports an item that an error keeps from being found out: a permission that the caller lacks is no fault of the
// thing.
func (r *run) unknown(ctx context.Context, id, permission string, err error) {
	err = operator.Explain(err)
	remedy := hint.Of(err)
	if remedy == "" && id == "credentials" {
		remedy = checkCredentials
	}
	switch {
	case isDenied(err):
		if denial, named := operator.DenialOf(err); named {
			r.skipped(id, denial.Remedy(permission), "unknown: %s", denial)
			return
		}
		r.skipped(id, "allow "+permission+" to see this", "unknown: the caller may not call it")
	case isThrottled(err):
		r.failed(id, "try again in a minute; AWS_MAX_ATTEMPTS=10 in the environment repeats such calls for about that long",
			"unknown: AWS throttled the call and its repetitions: %v", err)
	case isLate(ctx):
		host, answered := r.route.last()
		if answered { // with errors, at which calls are repeated, or slowly
			r.skipped(id, moreTime, "unknown: %s answers, and the time ran out all the same", host)
			return
		}
		r.late(ctx, id, host)
	default:
		r.failed(id, remedy, "%v", err)
	}
}
