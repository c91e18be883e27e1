package operator_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
)

func TestEachFaultOfACertificateHasItsRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"unknown authority": {x509.UnknownAuthorityError{}, "web proxy or firewall that inspects TLS"},
		"no authorities":    {hint.Wrap(x509.UnknownAuthorityError{}, "install ca-certificates"), "install ca-certificates"},
		"another name":      {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "data"}, "something else answers there"},
		"expired":           {x509.CertificateInvalidError{Reason: x509.Expired}, "check this machine's clock; if it is right"},
		"not for servers":   {x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}, "--ca-bundle"},
		"something else":    {errors.New("unheard of"), "--ca-bundle"},
	} {
		err := fmt.Errorf("connect: %w", &tls.CertificateVerificationError{Err: c.err})
		if got := operator.CertificateRemedy(err); !operator.IsCertificate(err) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if operator.IsCertificate(io.EOF) {
		t.Error("an end is taken for a certificate's fault")
	}
}
