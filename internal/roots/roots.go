package roots

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Remedy says which package to install, by distribution.
const Remedy = "install ca-certificates (apt, apk, dnf, pacman or zypper), on OpenWrt ca-bundle, in Buildroot and Yocto the package ca-certificates"

var errMissing = hint.New("this system has no root certificates", Remedy)

// Missing reports whether the system has no root certificates at all.
func Missing() bool {
	pool, err := x509.SystemCertPool()
	return err != nil || empty(pool)
}

// Explain adds to err, of a TLS handshake, that the system has no root certificates, if that is the
// cause. pool holds what the handshake trusted; nil means the system's roots. Other errors stay as they
// are.
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
