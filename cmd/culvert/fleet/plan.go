package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// Plan says which things a fleet has.
type Plan struct {
	Things  int // in all
	Running int // of them, whose agents run; -1: nine of ten
}

// fate says what a thing's agent does.
type fate int

const (
	runs  fate = iota
	left       // it connected once, and left
	never      // it never connected
)

// thing is one device of the plan.
type thing struct {
	name       string
	fate       fate
	attributes map[string]string
	groups     []string
}

// Sites are the values of the attribute site.
var Sites = []string{"berlin", "lisbon", "oslo"}

// Canary is the group of every twentieth thing.
const Canary = "canary"

// Name returns the name of the i-th thing, counted from 1.
func Name(i int) string { return fmt.Sprintf("dev-%04d", i) }

// Connects reports whether one of the plan's things whose agents connect has this name.
func (p Plan) Connects(name string) bool {
	return slices.ContainsFunc(p.list(), func(t thing) bool { return t.name == name && t.fate != never })
}

// named returns things of these names.
func named(names []string) (things []thing) {
	for _, n := range names {
		things = append(things, thing{name: n})
	}
	return things
}

// list returns the plan's things in order. Without Running, every tenth is away: by turns it has left, or it never
// came. In a plan of fewer than ten, the last one is away.
func (p Plan) list() []thing {
	things := make([]thing, p.Things)
	running := 0
	for i := range things {
		n := i + 1
		t := thing{
			name:       Name(n),
			attributes: map[string]string{"site": Sites[i%len(Sites)], "model": []string{"camera", "gateway"}[i%2]},
		}
		if i%20 == 0 {
			t.groups = append(t.groups, Canary)
		}
		switch {
		case p.Running >= 0 && running == p.Running:
			t.fate = never
		case p.Running >= 0:
		case n%20 == 10, p.Things < 10 && n > 1 && n == p.Things:
			t.fate = left
		case n%20 == 0:
			t.fate = never
		}
		if t.fate == runs {
			running++
		}
		things[i] = t
	}
	return things
}

// Describe says how many things there are, in words.
func (p Plan) Describe() string {
	counts := map[fate]int{}
	for _, t := range p.list() {
		counts[t.fate]++
	}
	text := fmt.Sprintf("%d things, of which %d are connected", p.Things, counts[runs])
	var away []string
	if n := counts[left]; n == 1 {
		away = append(away, "1 has left")
	} else if n > 1 {
		away = append(away, fmt.Sprintf("%d have left", n))
	}
	if n := counts[never]; n > 0 {
		away = append(away, fmt.Sprintf("%d never came", n))
	}
	if len(away) > 0 {
		text += ", " + strings.Join(away, " and ")
	}
	return text
}
