package fleet

import "testing"

func TestAFleetHasDevicesThatAreAway(t *testing.T) {
	for _, c := range []struct {
		plan Plan
		want string
	}{
		{Plan{1, -1}, "1 things, of which 1 are connected"},
		{Plan{3, -1}, "3 things, of which 2 are connected, 1 has left"},
		{Plan{200, -1}, "200 things, of which 180 are connected, 10 have left and 10 never came"},
		{Plan{10000, 5}, "10000 things, of which 5 are connected, 9995 never came"},
		{Plan{3, 0}, "3 things, of which 0 are connected, 3 never came"},
		{Plan{10, 10}, "10 things, of which 10 are connected"},
	} {
		if got := c.plan.Describe(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.plan, got, c.want)
		}
	}
}

func TestThingsHaveAttributesAndGroups(t *testing.T) {
	canaries, sites := 0, map[string]int{}
	for _, thing := range (Plan{Things: 60, Running: -1}).list() {
		canaries += len(thing.groups)
		sites[thing.attributes["site"]]++
	}
	if canaries != 3 || sites["berlin"] != 20 || sites["oslo"] != 20 {
		t.Errorf("%d canaries, %v", canaries, sites)
	}
}
