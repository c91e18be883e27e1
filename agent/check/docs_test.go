package check

import (
	"os"
	"strings"
	"testing"
)

func TestEachCheckIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## check\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, id := range IDs() {
		if !strings.Contains(section, "`"+id+"`") {
			t.Errorf("docs/operation.md does not explain %s", id)
		}
	}
}
