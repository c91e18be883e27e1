package check

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
)

// Status is the outcome of a check.
type Status string

// The outcomes.
const (
	OK      Status = "ok"
	Warning Status = "warning" // allowed, but probably not intended
	Failed  Status = "failed"  // tunnels will not work, or not as configured
	Skipped Status = "skipped" // not tried; the text says why
)

// Result is one check.
type Result struct {
	ID      string      `json:"id"`                // one of IDs
	Subject string      `json:"subject,omitempty"` // which service or region, where an id repeats
	Status  Status      `json:"status"`
	Text    string      `json:"text"`
	Remedy  string      `json:"remedy,omitempty"` // what to do
	Policy  []Statement `json:"policy,omitempty"` // missing in the policy of the device's certificate
	// Milliseconds is how long the check took. A step of a connection counts from its beginning.
	Milliseconds int64 `json:"milliseconds"`
}

// Report holds all results.
type Report struct {
	Version      version.Info `json:"version"`
	Config       string       `json:"config"`          // path of the file
	Thing        string       `json:"thing,omitempty"` // "" if the configuration cannot be read
	Started      time.Time    `json:"started"`         // by the device's clock
	Milliseconds int64        `json:"milliseconds"`
	Offline      bool         `json:"offline"`
	Well         bool         `json:"well"` // nothing failed
	Failed       int          `json:"failed"`
	Warnings     int          `json:"warnings"`
	Skipped      int          `json:"skipped"`
	Checks       []*Result    `json:"checks"`
}

func (r *Report) add(c *Result) {
	c.clean()
	r.Checks = append(r.Checks, c)
	switch c.Status {
	case Failed:
		r.Failed++
	case Warning:
		r.Warnings++
	case Skipped:
		r.Skipped++
	case OK:
	}
	r.Well = r.Failed == 0
}

// NotConfigured returns the report of a configuration that cannot be used.
func NotConfigured(path string, now time.Time, err error) Report {
	r := Report{Version: version.Get(), Config: path, Started: now, Checks: []*Result{}}
	all := []error{err}
	if joined, ok := errors.AsType[config.Errors](err); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		result := failed("config", hint.Of(err), "%v", err)
		if e, ok := errors.AsType[*config.Error](err); ok {
			result.Text, _, _ = strings.Cut(err.Error(), "\n") // the lines below show the file
			result.Remedy = cmp.Or(e.Hint(), result.Remedy)
		}
		r.add(result)
	}
	return r
}

// kind is a check: its id and its label in text.
type kind struct{ id, label string }

// kinds lists the checks in the order of their results.
var kinds = []kind{
	{"config", "configuration"},
	{"files.certificate", "certificate"},
	{"files.key", "private key"},
	{"files.login", "login"},
	{"files.broker_roots", "broker's roots"},
	{"files.tunnel_roots", "tunnels' roots"},
	{"state", "state directory"},
	{"daemon", "running daemon"},
	{"systemd", "systemd"},
	{"service", "service"},
	{"proxy", "web proxy"},
	{"mqtt.name", "mqtt name"},
	{"mqtt.tcp", "mqtt tcp"},
	{"mqtt.tls", "mqtt tls"},
	{"mqtt.connect", "mqtt connect"},
	{"mqtt.subscribe", "mqtt subscribe"},
	{"mqtt.client_id", "mqtt client id"},
	{"mqtt.receive", "mqtt receive"},
	{"mqtt.answer", "mqtt answer"},
	{"tunnel.region", "tunnel region"},
	{"tunnel.name", "tunnel name"},
	{"tunnel.tcp", "tunnel tcp"},
	{"tunnel.tls", "tunnel tls"},
	{"tunnel.answer", "tunnel answer"},
	{"clock", "clock"},
}

// IDs returns the ids of results, in their order.
func IDs() []string {
	ids := make([]string, len(kinds))
	for i, k := range kinds {
		ids[i] = k.id
	}
	return ids
}

func well(id, format string, args ...any) *Result {
	return &Result{ID: id, Status: OK, Text: fmt.Sprintf(format, args...)}
}

func skipped(id, format string, args ...any) *Result {
	return &Result{ID: id, Status: Skipped, Text: fmt.Sprintf(format, args...)}
}

func failed(id, remedy, format string, args ...any) *Result {
	return &Result{ID: id, Status: Failed, Text: fmt.Sprintf(format, args...), Remedy: remedy}
}

func warning(id, remedy, format string, args ...any) *Result {
	return &Result{ID: id, Status: Warning, Text: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (r *Result) of(subject string) *Result {
	r.Subject = subject
	return r
}

func (r *Result) since(began time.Time) *Result {
	r.Milliseconds = time.Since(began).Milliseconds()
	return r
}

// skipRest skips steps because an earlier one failed.
func skipRest(why string, ids ...string) []*Result {
	list := make([]*Result, len(ids))
	for i, id := range ids {
		list[i] = skipped(id, "not tried: %s", why)
	}
	return list
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
