// Package settings declares the options that pass unchanged from the configuration file to the part of
// the daemon that follows them, so that neither has to know the other.
package settings
