package agent

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/services"
)

func TestAnAnswerNamesServicesAndIsBounded(t *testing.T) {
	a := &Agent{started: time.Now().Add(-time.Minute), current: &config.Config{Services: []services.Service{
		{Name: "SSH", Network: "tcp", Address: "127.0.0.1:22"}, {Name: "VNC", Disabled: true},
	}}}
	var got struct {
		Asked    []string
		Version  string
		Uptime   int64
		Services []map[string]any
	}
	if err := json.Unmarshal(a.answerPing([]string{"M"}), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]any{{"name": "SSH"}, {"name": "VNC", "disabled": true}}, got.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff) // an operator does not learn targets from a tunnel
	}
	if len(got.Asked) != 1 || got.Asked[0] != "M" || got.Version != version.Get().Version || got.Uptime < 60 || got.Uptime > 120 {
		t.Errorf("answer %+v", got)
	}
	for i := range 1000 {
		a.current.Services = append(a.current.Services, services.Service{Name: fmt.Sprintf("%0128d", i)})
	}
	if n := len(a.answerPing([]string{"M"})); n > 8<<10 {
		t.Errorf("an answer of %d bytes", n)
	}
}
