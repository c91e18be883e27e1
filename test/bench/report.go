package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// result is one figure of one round.
type result struct {
	Path      string  `json:"path"`
	Work      string  `json:"work"`
	Contender string  `json:"contender"`
	Metric    string  `json:"metric,omitempty"`
	Unit      string  `json:"unit,omitempty"`
	Value     float64 `json:"value"`
}

// measure does the work, all contenders in turn in each round, and returns every figure. A contender that fails is reported
// and the rest goes on.
func measure(ctx context.Context, opts options, progress io.Writer) ([]result, error) {
	r := run{opts: opts, progress: progress, contenders: []string{both}, lines: json.NewEncoder(io.Discard)}
	if opts.peer != "" {
		r.contenders = append(r.contenders, other, mixed)
	}
	if opts.out != "" {
		f, err := os.OpenFile(opts.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r.lines = json.NewEncoder(f)
	}
	for _, p := range paths {
		if !slices.Contains(opts.paths, p.name) {
			continue
		}
		if err := r.onPath(ctx, p); err != nil {
			return r.results, err
		}
	}
	return r.results, nil
}

// run is one run of this program.
type run struct {
	opts       options
	contenders []string
	progress   io.Writer
	lines      *json.Encoder
	results    []result
}

// onPath does all the work that suits a path.
func (r *run) onPath(ctx context.Context, p path) error {
	todo := slices.DeleteFunc(slices.Clone(works), func(w work) bool {
		return !slices.Contains(r.opts.works, w.name) || !slices.Contains(w.paths, p.name)
	})
	if len(todo) == 0 {
		return nil
	}
	s, err := newScene(ctx, r.opts, p)
	if err != nil {
		fmt.Fprintf(r.progress, "%s: skipped: %v\n", p.name, err)
		return nil
	}
	defer s.close()
	for round := range r.opts.rounds {
		for _, w := range todo {
			those := r.contenders
			if w.plain {
				those = append(slices.Clone(those), plain)
			}
			for i := range those {
				name := those[(i+round)%len(those)]
				fmt.Fprintf(r.progress, "%s, %s, round %d of %d: %s\n", p.name, w.name, round+1, r.opts.rounds, name)
				note := func(metric, unit string, value float64) {
					one := result{p.name, w.name, name, metric, unit, value}
					r.results = append(r.results, one)
					_ = r.lines.Encode(one)
				}
				err := s.once(ctx, w, name, note)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					fmt.Fprintf(r.progress, "  %v\n", err)
					note("could not be measured", "times", 1)
				}
			}
		}
	}
	return nil
}

// once starts a contender and does one work with it.
func (s *scene) once(ctx context.Context, w work, name string, note record) error {
	c, err := s.start(ctx, name)
	if err != nil {
		return err
	}
	defer s.stop(c)
	// What the start left to do, such as collecting garbage, is not what is measured.
	if err := backoff.Sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if err := w.do(ctx, s, c, note); err != nil {
		return fmt.Errorf("%w%s%s", err, c.source.lastWords(), c.device.lastWords())
	}
	return nil
}

// noteTimes notes the middle and the end of a distribution.
func noteTimes(note record, name string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	for _, p := range []int{50, 99} {
		note(fmt.Sprintf("%sp%d", name, p), "ms", float64(percentile(took, p).Microseconds())/1e3)
	}
}

// percentile is the nearest rank; 100 is the largest.
func percentile[T time.Duration | float64](list []T, p int) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func readResults(name string) (all []result, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var r result
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// show writes a table of medians, with the least and the greatest value behind them.
func show(out io.Writer, results []result) error {
	type key struct{ path, work, metric, unit string }
	values := map[key]map[string][]float64{}
	var order []key
	for _, r := range results {
		k := key{r.Path, r.Work, r.Metric, r.Unit}
		if values[k] == nil {
			values[k] = map[string][]float64{}
			order = append(order, k)
		}
		values[k][r.Contender] = append(values[k][r.Contender], r.Value)
	}
	for _, p := range paths {
		for _, w := range works {
			var rows []key
			for _, k := range order {
				if k.path == p.name && k.work == w.name {
					rows = append(rows, k)
				}
			}
			if len(rows) == 0 {
				continue
			}
			fmt.Fprintf(out, "\n%s: %s (%v)\n", w.name, w.what, p)
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintf(t, "\t%s\t%s\t%s\t%s\tculvert/peer\tculvert/plain\n", both, other, mixed, plain)
			for _, k := range rows {
				fmt.Fprintf(t, "%s %s", k.metric, k.unit)
				for _, c := range []string{both, other, mixed, plain} {
					fmt.Fprintf(t, "\t%s", spread(values[k][c]))
				}
				fmt.Fprintf(t, "\t%s\t%s\n", ratio(values[k][both], values[k][other]), ratio(values[k][both], values[k][plain]))
			}
			if err := t.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func spread(list []float64) string {
	if len(list) == 0 {
		return "-"
	}
	middle := percentile(list, 50)
	if len(list) == 1 {
		return fmt.Sprintf("%.3g", middle)
	}
	return fmt.Sprintf("%.4g (%.3g-%.3g)", middle, slices.Min(list), slices.Max(list))
}

// ratio is the median of the rounds' ratios: those that were measured in turn are compared.
func ratio(a, b []float64) string {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	if len(ratios) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", percentile(ratios, 50))
}
