package agent

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestTheGuideDescribesEveryMemberOfTheStatus: what "culvertd status --json" writes is for programs of others.
func TestTheGuideDescribesEveryMemberOfTheStatus(t *testing.T) {
	data, err := os.ReadFile("../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## status\n")
	section, _, found := strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/operation.md has no section on status")
	}
	told := make(map[string]bool)
	for i, part := range strings.Split(section, "`") {
		if i%2 == 1 {
			for _, name := range strings.FieldsFunc(part, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
				told[name] = true
			}
		}
	}
	var visit func(of reflect.Type)
	visit = func(of reflect.Type) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return
		}
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				continue
			}
			if !told[name] {
				t.Errorf("docs/operation.md does not describe %s of %s", name, of)
			}
			if name != "version" { // it has members of its own, which "culvertd version --json" shows
				visit(f.Type)
			}
		}
	}
	visit(reflect.TypeFor[Status]())
}
