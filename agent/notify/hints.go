package notify

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/roots"
)

// filesHint helps where no file descriptor is left.
const filesHint = "close connections, or raise this program's limit of open files (LimitNOFILE= of its unit, ulimit -n)"

// dialHint explains why there is no TCP connection. A web proxy's errors bring their own hint.
func dialHint(err error) string {
	var dns *net.DNSError
	switch {
	case hint.Of(err) != "":
		return hint.Of(err)
	case errors.Is(err, syscall.EMFILE): // also when it was the resolver that lacked one
		return filesHint
	case errors.As(err, &dns) && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(dns.Name, ".")), ".local"):
		return "names in .local are found by mDNS, and this program asks DNS and /etc/hosts alone: write the address, or put the name into /etc/hosts"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name does not exist: check mqtt.endpoint (aws iot describe-endpoint --endpoint-type iot:Data-ATS prints it)"
	case errors.As(err, &dns):
		return "no answer from DNS: check the network and the name servers"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check the port in mqtt.endpoint"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "no route: check the network"
	case timedOut(err):
		return "a firewall may drop the port: mqtt.endpoint also works with :443, and through a web proxy named by https_proxy"
	default:
		return ""
	}
}

// Alerts that say what the other side thinks of us (RFC 8446, section 6.2).
const (
	alertHandshakeFailure      = 40
	alertBadCertificate        = 42
	alertUnsupportedCert       = 43
	alertCertificateRevoked    = 44
	alertCertificateExpired    = 45
	alertCertificateUnknown    = 46
	alertUnknownCA             = 48
	alertAccessDenied          = 49
	alertProtocolVersion       = 70
	alertUnrecognizedName      = 112
	alertCertificateRequired   = 116
	alertNoApplicationProtocol = 120
)

// tlsHint explains a TLS error, before or after the handshake; "" if it knows none.
func tlsHint(err error, config *tls.Config, now time.Time) string {
	var (
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		system    x509.SystemRootsError
		name      x509.HostnameError
		notTLS    tls.RecordHeaderError
	)
	switch {
	case hint.Of(err) != "":
		return hint.Of(err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return "the broker's certificate is not valid yet: this device's clock is slow, set it (NTP)"
		}
		return "the broker's certificate has expired, or this device's clock is fast: check date and NTP"
	case errors.As(err, &authority) && config != nil && config.RootCAs == nil && roots.Missing():
		return "this system has no root certificates: " + roots.Remedy + ", or set mqtt.ca_file"
	case errors.As(err, &authority):
		return "the broker's certificate is from an authority that is not trusted here: check mqtt.ca_file (Amazon Root CA 1 for AWS IoT endpoints with -ats)"
	case errors.As(err, &system):
		return "this system has no root certificates: " + roots.Remedy + ", or set mqtt.ca_file"
	case errors.As(err, &name):
		return "the broker's certificate is for another name: check mqtt.endpoint"
	case errors.As(err, &notTLS):
		return "what listens there does not speak TLS: check the port in mqtt.endpoint"
	}
	if note := expiryNote(config, now); note != "" {
		return note
	}
	const certificate = "the broker did not accept the device's certificate: it must be registered and active in the account and region of mqtt.endpoint, " +
		"and mqtt.cert_file and mqtt.key_file must be its files"
	switch alert, ok := remoteAlert(err); {
	case !ok && closedByPeer(err):
		return "closed without a reason: the endpoint's name, its port, or a firewall; check mqtt.endpoint"
	case !ok && timedOut(err):
		return "no answer in TLS: check the port in mqtt.endpoint, and whether a firewall is in between"
	case !ok:
		return ""
	case alert == alertProtocolVersion:
		return "the broker wants another version of TLS; 1.2 and 1.3 are offered"
	case alert == alertUnrecognizedName:
		return "the broker does not serve this name: check mqtt.endpoint"
	case alert == alertNoApplicationProtocol:
		return "what listens there does not take MQTT by ALPN: check the port in mqtt.endpoint (443 is for AWS IoT)"
	case alert == alertHandshakeFailure, alert == alertAccessDenied, alert == alertCertificateRequired, alert == alertUnknownCA,
		alertBadCertificate <= alert && alert <= alertCertificateUnknown:
		return certificate
	default:
		return ""
	}
}

// remoteAlert returns the number of the alert that the other side sent. Package tls gives its type no
// exported name over TCP; it is an unsigned number under a net.OpError of this operation.
func remoteAlert(err error) (uint64, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return v.Uint(), true
}

// expiryNote says that the device's own certificate has expired or is not valid yet, by the device's clock.
func expiryNote(config *tls.Config, now time.Time) string {
	if config == nil {
		return ""
	}
	for _, c := range config.Certificates {
		leaf := c.Leaf
		if leaf == nil && len(c.Certificate) > 0 {
			leaf, _ = x509.ParseCertificate(c.Certificate[0])
		}
		switch {
		case leaf == nil:
		case now.After(leaf.NotAfter):
			return fmt.Sprintf("the device's own certificate (mqtt.cert_file) expired on %s, or the clock is fast", leaf.NotAfter.Format(time.DateOnly))
		case now.Before(leaf.NotBefore):
			return fmt.Sprintf("the device's own certificate (mqtt.cert_file) is valid only from %s: the clock is slow, set it (NTP)", leaf.NotBefore.Format(time.DateOnly))
		}
	}
	return ""
}
