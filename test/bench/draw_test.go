package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestThePictureShowsTheMedians(t *testing.T) {
	var all []result
	for _, v := range []float64{30, 21.2, 20.9} {
		all = append(all, result{"20ms", "typing-1", both, "over idle, p99, bulk to the device", "ms", v})
	}
	all = append(all, result{"20ms", "typing-1", other, "over idle, p99, bulk to the device", "ms", 15_912})
	svg := picture(all)
	for _, want := range []string{">21.2 ms<", ">15,910 ms<", `width="480"`, `width="2"`, ">Culvert<", ">localproxy<", "less is better", "prefers-color-scheme:dark"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "plain TLS</text>") || strings.Contains(svg, "Throughput") {
		t.Error("it draws what was not measured")
	}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
