package connect

import (
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
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

// searchPolicy is the retry rule for a tunnel that connections wait for.
func searchPolicy() retry.Policy {
	return retry.Policy{Backoff: backoff.Backoff{Min: time.Second, Max: maxDelay}}
}

// judge returns the delay after a search for a tunnel that failed, and whether another one may succeed.
func judge(p *retry.Policy, err error, now time.Time) (delay time.Duration, again bool) {
	switch code := apiCode(err); {
	case code == "UnknownError": // another server answered in the service's place
	case code != "":
		d := p.Refused(retry.Refusal{Status: apiStatus(err)}, now)
		return d.Delay, d.End == retry.None
	case isNetwork(err):
	default: // this side's, or one without a tunnel in a sound answer
		return 0, false
	}
	return p.Failed(0), true
}

// apiStatus is the HTTP status of an error that the control API answered with, as it should be: the service has one status
// for most of its errors.
func apiStatus(err error) int {
	answer, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	switch {
	case isThrottled(err):
		return http.StatusTooManyRequests
	case ok && answer.HTTPStatusCode() > 0:
		return answer.HTTPStatusCode()
	}
	return http.StatusBadRequest
}
