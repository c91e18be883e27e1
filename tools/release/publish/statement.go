package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// subject is a file of the statement.
type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// writeStatement writes an in-toto statement (version 1) with SLSA's provenance (version 1) as its predicate: which
// commit, compiler and command made the files of the release. The signed list of checksums covers it as well.
func writeStatement(o options) error {
	if o.commit == "" || o.goVersion == "" || o.builder == "" {
		return errors.New("--commit, --go and --builder are needed")
	}
	const name = "provenance.intoto.json"
	entries, err := os.ReadDir(o.files) // sorted
	if err != nil {
		return err
	}
	var subjects []subject
	for _, e := range entries {
		if e.Name() == name {
			continue
		}
		content, err := os.ReadFile(filepath.Join(o.files, e.Name()))
		if err != nil {
			return err
		}
		subjects = append(subjects, subject{e.Name(), map[string]string{"sha256": fmt.Sprintf("%x", sha256.Sum256(content))}})
	}
	type object = map[string]any
	return writeJSON(o.files, name, object{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       subjects,
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate": object{
			"buildDefinition": object{
				"buildType":          homepage + "/blob/main/docs/releasing.md",
				"externalParameters": object{"version": o.version, "command": "make release"},
				"internalParameters": object{"go": o.goVersion},
				"resolvedDependencies": []object{
					{"uri": "git+" + homepage, "digest": object{"gitCommit": o.commit}},
				},
			},
			"runDetails": object{"builder": object{"id": o.builder}},
		},
	})
}
