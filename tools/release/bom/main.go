// Command bom writes what a binary is made of: the licences that must come with it, and a bill of materials in
// CycloneDX's JSON. Both come from what the linker recorded in the binary, so that nothing is listed which is
// not in it and nothing is missing that is. The same binary gives the same bytes.
//
//	bom --binary FILE --name culvertd --version 1.2.3 --time 2026-01-02T03:04:05Z --notices FILE --sbom FILE
//
// It is run in the folder of the product's go.mod, whose modules must be in the module cache.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bom:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bom", flag.ContinueOnError)
	binary := flags.String("binary", "", "the program")
	name := flags.String("name", "", "its name")
	version := flags.String("version", "", "its version")
	made := flags.String("time", "", "when its source was committed, RFC 3339")
	notices := flags.String("notices", "", "file to write licences to")
	sbom := flags.String("sbom", "", "file to write the bill of materials to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(*binary)
	if err != nil {
		return fmt.Errorf("%s: %w", *binary, err)
	}
	parts, err := partsOf(info)
	if err != nil {
		return err
	}
	if err := write(*notices, func(w io.Writer) error { return writeNotices(w, *name, parts) }); err != nil {
		return err
	}
	return write(*sbom, func(w io.Writer) error {
		return writeSBOM(w, product{*name, *version, *made, info.Main.Path}, parts)
	})
}

func write(path string, fill func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

// part is one module in the binary, or Go's own library.
type part struct {
	path, version, sum string
	texts              []text
}

// text is a licence or a notice as its owner wrote it.
type text struct{ name, body string }

// partsOf lists the modules of a binary with their licences, by path.
func partsOf(info *debug.BuildInfo) ([]part, error) {
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	std := part{path: "std", version: info.GoVersion}
	if std.texts, err = textsIn(strings.TrimSpace(root)); err != nil {
		return nil, err
	}
	parts := []part{std}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		dir, err := folderOf(m)
		if err != nil {
			return nil, err
		}
		p := part{path: m.Path, version: m.Version, sum: m.Sum}
		if p.texts, err = textsIn(dir); err != nil {
			return nil, err
		}
		if len(identify(p.texts)) == 0 {
			return nil, fmt.Errorf("%s %s has no licence in %s that is known here: look at it, and add it to phrases", m.Path, m.Version, dir)
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.path, b.path) })
	return parts, nil
}

func folderOf(m *debug.Module) (string, error) {
	out, err := output("go", "mod", "download", "-json", m.Path+"@"+m.Version)
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", fmt.Errorf("%s: %w", m.Path, err)
	}
	return module.Dir, nil
}

// textsIn returns the licences and notices of a folder, which may lie in several files.
func textsIn(dir string) ([]text, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var texts []text
	for _, e := range entries {
		upper := strings.ToUpper(e.Name())
		if e.IsDir() || !slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS", "EDL", "EPL"}, func(prefix string) bool {
			return strings.HasPrefix(upper, prefix)
		}) {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, text{e.Name(), string(body)})
	}
	return texts, nil
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
