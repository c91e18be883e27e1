// Package settings declares the options that pass unchanged from the configuration file to the parts of the daemon that
// use them, so that neither imports the other.
package settings
