// Command chart draws what scripts/bench-peers measured: chart RESULTS.jsonl OUT.svg
//
// It knows only the format of the results, one JSON object a line.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// result is one figure of one round, as the measuring program writes it.
type result struct {
	Path, Work, Contender, Metric, Unit string
	Value                               float64
}

// series is what one contender is called and drawn like.
type series struct {
	contender, label string
	colour           [3]uint8
}

var all = []series{
	{"culvert", "Culvert", [3]uint8{0x1f, 0x6f, 0xb4}},
	{"peer", "localproxy", [3]uint8{0xd9, 0x7b, 0x29}},
	{"mixed", "culvertd, localproxy as source", [3]uint8{0x7f, 0xb2, 0xd9}},
	{"plain", "plain TLS", [3]uint8{0x9a, 0x9a, 0x9a}},
}

// panel is one bar chart: a group of bars for each metric, a bar for each contender that has it.
type panel struct {
	title, unit string
	path, work  []string // of each group, or one for all
	metric      []string // likewise
	groups      []string // what each group is called
	logarithmic bool
}

var panels = []panel{
	{
		title: "Typing beside bulk at 800 kB/s, 20 ms: p99 over idle", unit: "ms (logarithmic)", logarithmic: true,
		path: []string{"20ms"}, work: []string{"typing-1", "typing-1", "typing-8", "typing-8"},
		metric: []string{
			"over idle, p99, bulk to the device", "over idle, p99, bulk from the device",
			"over idle, p99, bulk to the device", "over idle, p99, bulk from the device",
		},
		groups: []string{"1 to device", "1 from device", "8 to device", "8 from device"},
	},
	{
		title: "Peak memory of the device's process", unit: "MB (logarithmic)", logarithmic: true,
		path: []string{"loopback"}, work: []string{"stall-1", "stall-100", "bulk"},
		metric: []string{"peak RSS of the device's"},
		groups: []string{"tunnel stalls, 1 app", "100 apps", "bulk"},
	},
	{
		title: "Bulk through the relay, no limit", unit: "MB/s",
		path: []string{"loopback"}, work: []string{"bulk"},
		metric: []string{"to the device", "from the device"}, groups: []string{"to the device", "from the device"},
	},
	{
		title: "Processor time of the device's process", unit: "s/GB",
		path: []string{"loopback"}, work: []string{"bulk"},
		metric: []string{"device's CPU to the device", "device's CPU from the device"}, groups: []string{"to the device", "from the device"},
	},
	{
		title: "Short requests, a new connection each", unit: "ms (logarithmic)", logarithmic: true,
		path: []string{"loopback"}, work: []string{"request", "page", "page"}, metric: []string{"p50", "p50", "p99"},
		groups: []string{"one by one, p50", "40 at once, p50", "40 at once, p99"},
	},
	{
		title: "A lone bulk connection's share of the limit", unit: "%",
		path: []string{"20ms", "200ms", "lossy"}, work: []string{"goodput"}, metric: []string{"from the device"},
		groups: []string{"20 ms", "200 ms", "1 % loss"},
	},
}

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: chart RESULTS.jsonl OUT.svg")
	}
	results, err := read(args[0])
	if err != nil {
		return err
	}
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	return errors.Join(chart(f, results), f.Close())
}

func read(name string) (all []result, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		var r result
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, r)
	}
	return all, s.Err()
}

// medians are a panel's values, one for each group; what was not measured is 0.
func medians(p panel, results []result, contender string) (values []float64, any bool) {
	values = make([]float64, len(p.groups))
	for i := range p.groups {
		var list []float64
		for _, r := range results {
			if r.Contender == contender && r.Path == at(p.path, i) && r.Work == at(p.work, i) && r.Metric == at(p.metric, i) {
				list = append(list, r.Value)
			}
		}
		if len(list) > 0 {
			slices.SortFunc(list, cmp.Compare)
			values[i], any = list[len(list)/2], true
		}
	}
	return values, any
}

// at is the element of a group, or the only one.
func at(list []string, i int) string { return list[min(i, len(list)-1)] }
