package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/operator/fleet"
)

func TestTheListOfThings(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	for _, c := range []struct {
		text, err string
		names     []string
	}{
		{text: "pi-1\npi-2\n", names: []string{"pi-1", "pi-2"}},
		{text: "\ufeffpi-1\r\n# the cellar\r\n\r\n  pi-2  \r\npi-1", names: []string{"pi-1", "pi-2"}},
		{text: "", names: nil},
		{text: "pi-1\n\npi 2\n", err: path + `:3: "pi 2" cannot be the name of a thing: 1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed`},
		{text: "pi-1\n\ufeffpi-2\n", err: path + `:2: "\ufeffpi-2" cannot be the name of a thing: 1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed`},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := &execOptions{things: path}
		names, err := o.names(t.Context(), aws.Config{}, fleet.Filter{})
		said := ""
		if err != nil {
			said = err.Error()
		}
		if diff := cmp.Diff(c.err, said); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
		if diff := cmp.Diff(c.names, names); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
}
