package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parseExample(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse(strings.NewReader(text), "/etc/culvert/culvertd.toml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// commented matches a setting that is switched off: "#" and no space after it.
var commented = regexp.MustCompile(`(?m)^#(\S)`)

func TestTheExamplesAreGoodConfigurations(t *testing.T) {
	least := parseExample(t, read(t, "../../configs/minimal.toml"))
	full := parseExample(t, read(t, "../../configs/culvertd.toml"))
	if diff := cmp.Diff(least, full); diff != "" {
		t.Errorf("minimal.toml and culvertd.toml as they are differ: %s", diff)
	}
	// Removing the "#" of a setting at its default must change nothing but the services.
	all := parseExample(t, commented.ReplaceAllString(read(t, "../../configs/culvertd.toml"), "$1"))
	if len(all.Services) != 4 {
		t.Errorf("%d services", len(all.Services))
	}
	all.Services = full.Services
	if diff := cmp.Diff(full, all); diff != "" {
		t.Errorf("a value in culvertd.toml is not the default: %s", diff)
	}
}

// allKeys lists every key there is as "section.key", those of a service as "services.*.key".
func allKeys() []string {
	var keys []string
	for _, s := range sections {
		for _, k := range s.keys {
			keys = append(keys, strings.TrimPrefix(s.name+"."+k.name, "."))
		}
	}
	for _, k := range serviceKeys {
		keys = append(keys, "services.*."+k)
	}
	return keys
}

func TestCulvertdTOMLShowsEveryKey(t *testing.T) {
	doc := parseDocument([]byte(commented.ReplaceAllString(read(t, "../../configs/culvertd.toml"), "$1")), "culvertd.toml")
	shown := make(map[string]bool)
	var visit func(n *node, path string)
	visit = func(n *node, path string) {
		for _, c := range n.children {
			name := c.name
			if path == "services." {
				name = "*"
			}
			shown[path+name] = true
			visit(c, path+name+".")
		}
	}
	visit(doc.root, "")
	for _, k := range allKeys() {
		if !shown[k] {
			t.Errorf("%s is missing", k)
		}
	}
}

func TestTheGuideDescribesEveryKey(t *testing.T) {
	guide := read(t, "../../docs/configuration.md")
	for _, k := range allKeys() {
		// Each key has a row of its own, under the heading of its table.
		name := k[strings.LastIndexByte(k, '.')+1:]
		section, _, _ := strings.Cut(k, ".")
		if section == name {
			section = ""
		}
		text := guide
		if section != "" {
			_, after, found := strings.Cut(guide, "\n### `["+section+"]`\n")
			if !found {
				t.Errorf("there is no heading for [%s]", section)
				continue
			}
			text, _, _ = strings.Cut(after, "\n### ")
		}
		if !strings.Contains(text, "\n| `"+name+"` |") {
			t.Errorf("%s is not described", k)
		}
	}
}
