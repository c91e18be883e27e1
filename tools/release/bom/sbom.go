package main

import (
	"io"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// product is what the bill of materials is about.
type product struct{ name, version, made, module string }

// writeSBOM writes CycloneDX 1.6. It has no serial number, and the time is the source's, so that the same commit
// gives the same file.
func writeSBOM(w io.Writer, of product, parts []part) error {
	ref := "pkg:golang/" + of.module + "@" + of.version + "#cmd/" + of.name
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: of.made,
		Component: &cyclonedx.Component{
			BOMRef: ref, Type: cyclonedx.ComponentTypeApplication, Name: of.name, Version: of.version,
			PackageURL: ref, Licenses: licences("Apache-2.0"),
		},
	}
	components := make([]cyclonedx.Component, 0, len(parts))
	refs := make([]string, 0, len(parts))
	for _, p := range parts {
		url := "pkg:golang/" + p.path + "@" + p.version
		refs = append(refs, url)
		components = append(components, cyclonedx.Component{
			BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: p.path, Version: p.version, PackageURL: url,
			Licenses: licences(identify(p.texts)...),
		})
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: ref, Dependencies: &refs}}
	encoder := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	return encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}

// phrases are what tells the licences apart that may be in a binary of this project, by SPDX identifier.
var phrases = []struct{ id, phrase string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"BSD-2-Clause", "Redistributions in binary form must reproduce the above copyright notice"},
	{"BSD-3-Clause", "may be used to endorse or promote products derived from"},
	{"EPL-2.0", "Eclipse Public License - v 2.0"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
}

// identify names the SPDX licences that the texts are. It knows only those that have been in use here: a new one needs
// a decision by hand.
func identify(texts []text) []string {
	var ids []string
	for _, t := range texts {
		body := strings.ToLower(strings.NewReplacer(",", "", "\"", "", "> ", "").Replace(strings.Join(strings.Fields(t.body), " ")))
		for _, p := range phrases {
			phrase := strings.ToLower(strings.ReplaceAll(p.phrase, ",", ""))
			if strings.Contains(body, phrase) && !slices.Contains(ids, p.id) {
				ids = append(ids, p.id)
			}
		}
	}
	if slices.Contains(ids, "BSD-3-Clause") { // the same text with a third clause
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == "BSD-2-Clause" })
	}
	slices.Sort(ids)
	return ids
}

func licences(ids ...string) *cyclonedx.Licenses {
	list := make(cyclonedx.Licenses, 0, len(ids))
	for _, id := range ids {
		list = append(list, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
	}
	return &list
}
