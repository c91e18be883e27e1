package operator

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/culvert-iot/culvert/internal/hint"
)

// IsCertificate reports whether a connection failed because the server's certificate cannot be trusted, which further
// attempts do not change.
func IsCertificate(err error) bool {
	_, failed := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return failed || authority || host || invalid
}

// CertificateRemedy says what to do about a server's certificate that cannot be trusted.
func CertificateRemedy(err error) string {
	if _, authority := errors.AsType[x509.UnknownAuthorityError](err); authority {
		if known := hint.Of(err); known != "" { // this system has no root certificates at all
			return known
		}
		return "give the endpoint's certificate authority with --ca-bundle or AWS_CA_BUNDLE: a web proxy or firewall that inspects TLS has one of its own"
	}
	if _, host := errors.AsType[x509.HostnameError](err); host {
		return "something else answers there: check the endpoint's name, this machine's DNS, and whether a web proxy inspects TLS or wants you to log in"
	}
	if e, invalid := errors.AsType[x509.CertificateInvalidError](err); invalid && e.Reason == x509.Expired {
		return "check this machine's clock; if it is right, who runs the endpoint, or a web proxy that inspects TLS, must renew the certificate"
	}
	return "give the endpoint's certificate authority with --ca-bundle or AWS_CA_BUNDLE; check the host name and this machine's clock"
}
