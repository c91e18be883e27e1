// Package config reads the device daemon's configuration: strict TOML into a validated [Config], with errors
// that show the place and say what to do.
//
// It knows nothing of the network: it opens no connection and resolves no name. It reads other files only in
// [Config.CheckFiles] and [Config.Warnings].
package config
