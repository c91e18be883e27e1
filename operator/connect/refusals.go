package connect

import (
	"crypto/tls"
	"errors"

	"github.com/culvert-iot/culvert/internal/retry"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/proxy"
)

// unreachable explains why the session gave the data endpoint up.
func (s *session) unreachable(err error) error {
	e := &Error{Reason: NoDataPlane, Text: "data endpoint " + s.cfg.DataEndpoint, Err: err}
	switch {
	case isNoTLS(err):
		e.hint = "it does not speak TLS: correct its port, or write ws:// in --data-endpoint if that is intended"
	case operator.IsCertificate(err):
		e.hint = operator.CertificateRemedy(err)
	case isRefusal(err):
		e.hint = "the token is of another region or service: check --region, --endpoint-url and --data-endpoint"
	default:
		e.hint = "check the network, the web proxy (https_proxy), the region and --data-endpoint"
	}
	return e
}

// isRefusal reports whether the service refused the token, which only a new one can change.
func isRefusal(err error) bool {
	e, ok := errors.AsType[*proxy.HandshakeError](err)
	return ok && !retry.Refusal{Status: e.Status, StatusReason: e.StatusReason, Body: e.Body, ChannelID: e.ChannelID}.Temporary()
}

// isHopeless reports whether every further attempt would fail in the same way.
func isHopeless(err error) bool {
	return operator.IsCertificate(err) || isNoTLS(err)
}

func isNoTLS(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}
