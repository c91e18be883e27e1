package configs

import _ "embed"

// Full explains every key of the configuration, with its default.
//
//go:embed culvertd.toml
var Full string

// Minimal is the least that the daemon needs.
//
//go:embed minimal.toml
var Minimal string
