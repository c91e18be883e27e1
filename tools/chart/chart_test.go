package main

import (
	"strings"
	"testing"
)

func TestPanelsThatHaveFiguresAreDrawn(t *testing.T) {
	var out strings.Builder
	err := chart(&out, []result{
		{Path: "loopback", Work: "bulk", Contender: "culvert", Metric: "to the device", Unit: "MB/s", Value: 123},
		{Path: "loopback", Work: "bulk", Contender: "culvert", Metric: "to the device", Unit: "MB/s", Value: 125},
		{Path: "loopback", Work: "bulk", Contender: "culvert", Metric: "to the device", Unit: "MB/s", Value: 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Bulk through the relay", ">123<"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the drawing lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "Typing") {
		t.Error("a panel without figures is drawn")
	}
	if chart(&out, nil) == nil {
		t.Error("nothing can be drawn")
	}
}
