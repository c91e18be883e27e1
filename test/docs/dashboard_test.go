package docs

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheDashboardAsksForFiguresThatThereAre: each panel's, and the guide has them all.
func TestTheDashboardAsksForFiguresThatThereAre(t *testing.T) {
	data, err := os.ReadFile("../../configs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	known := inCode(t, "../../docs/metrics.md")
	if len(board.Panels) < 8 || len(known) < 20 {
		t.Fatalf("%d panels, %d figures", len(board.Panels), len(known))
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := regexp.MustCompile(`([a-z_]+)\{`).FindAllStringSubmatch(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: no figure in %s", p.Title, target.Expr)
			}
			for _, m := range names {
				if !known[m[1]] {
					t.Errorf("%s: docs/metrics.md has no %s", p.Title, m[1])
				}
				// rate is for counters, and for them alone.
				if strings.Contains(target.Expr, "rate(") && !strings.HasSuffix(m[1], "_total") {
					t.Errorf("%s: rate of %s", p.Title, m[1])
				}
			}
		}
	}
}
