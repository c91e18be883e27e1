// Package roots explains why a certificate cannot be checked where there is nothing to check it with: a small
// image without root certificates fails like one that is attacked, and needs another remedy.
//
// It never changes what is trusted.
package roots

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// Remedy is what to install, by distribution.
const Remedy = "install ca-certificates (apt, apk, dnf, pacman or zypper), on OpenWrt ca-bundle, in Buildroot and Yocto the package ca-certificates"

// errMissing tells that there are no root certificates.
var errMissing = errors.New("this system has no root certificates: " + Remedy)

// Missing tells whether the system has no root certificate at all.
func Missing() bool {
	pool, err := x509.SystemCertPool()
	return err != nil || empty(pool)
}

// Explain adds to err, of a TLS handshake, that nothing could be trusted because the system has no roots.
// pool is what the handshake trusted; nil is the system's. Other errors stay as they are.
func Explain(err error, pool *x509.CertPool) error {
	var authority x509.UnknownAuthorityError
	var system x509.SystemRootsError
	if !errors.As(err, &authority) && !errors.As(err, &system) {
		return err
	}
	if pool == nil && !Missing() || pool != nil && !empty(pool) {
		return err
	}
	return fmt.Errorf("%w: %w", err, errMissing)
}

func empty(pool *x509.CertPool) bool { return pool.Equal(x509.NewCertPool()) }
