package presence

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestAnswersOfDevicesAreNotTrusted(t *testing.T) {
	long := strings.Repeat("x", 1000)
	many, _ := json.Marshal(make([]struct{}, 100))
	for name, c := range map[string]struct {
		payload string
		want    string // "": no answer
	}{
		"as culvertd writes it": {
			`{"asked":["other","M"],"version":"1.2.3","uptime":7200,"services":[{"name":"SSH"},{"name":"VNC","disabled":true}]}`,
			"culvertd 1.2.3, up for 2 h, services: SSH, VNC (disabled)",
		},
		"with what a later version adds": {`{"asked":["M"],"version":"9","new":{"a":[1]}}`, "culvertd 9, up for 0 s, services: none"},
		"of an older ping":               {`{"asked":["other"],"version":"1.2.3"}`, ""},
		"no JSON":                        {`M`, ""},
		"of another form":                {`{"asked":"M"}`, ""},
		"too long":                       {`{"asked":["M"],"version":"1"` + strings.Repeat(" ", maxAnswer) + `}`, ""},
		"terminal control":               {`{"asked":["M"],"version":"1\u001b[2J\n2"}`, "culvertd 1"},
		"a long version":                 {`{"asked":["M"],"version":"` + long + `"}`, "culvertd xxx"},
		"many services":                  {`{"asked":["M"],"services":` + string(many) + `}`, "culvertd"},
		"times of no sense":              {`{"asked":["M"],"version":"1","uptime":9223372036854775807}`, "culvertd 1, up for 36500 days"},
		"negative times":                 {`{"asked":["M"],"version":"1","uptime":-5}`, "culvertd 1, up for 0 s"},
	} {
		t.Run(name, func(t *testing.T) {
			a, ok := decodeAnswer([]byte(c.payload), "M")
			if ok != (c.want != "") {
				t.Fatalf("answer %t: %+v", ok, a)
			}
			if !ok {
				return
			}
			text := a.Describe()
			if !strings.HasPrefix(text, c.want) || strings.ContainsAny(text, "\n\x1b") || len(a.Version) > 70 || len(a.Services) > maxServices || a.Uptime > 40_000*24*time.Hour {
				t.Errorf("%q, want %q; %d services", text, c.want, len(a.Services))
			}
		})
	}
}
