package operator

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// Kind is where a problem lies. The AWS CLI has an exit code for each.
type Kind int

// The kinds.
const (
	Other         Kind = iota // the network, the machine
	Service                   // the service answered with an error
	Configuration             // files, the environment, credentials, the region
)

// KindOf returns where the problem of an error lies.
func KindOf(err error) Kind { k, _ := classify(err); return k }

// Explain puts an error of [LoadConfig] or of the client into one line for a person, mostly with a hint. It never shows
// more than the error itself does.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	_, explained := classify(err)
	return explained
}

// explained is an error in other words.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// problem is an error in words. The hint may be empty.
type problem struct {
	kind       Kind
	text, hint string
}

// classify prefers the hint that an error brings along: it comes from closer to the cause.
func classify(err error) (Kind, error) {
	p := problem{text: err.Error()}
	for _, explain := range []func(error) (problem, bool){explainConfiguration, explainService, explainCredentials, explainNetwork} {
		if found, ok := explain(err); ok {
			p = found
			break
		}
	}
	return p.kind, hint.Wrap(&explained{clean.Line(p.text, 0), err}, clean.Line(cmp.Or(hint.Of(err), p.hint), 0))
}

func explainConfiguration(err error) (problem, bool) {
	p := problem{kind: Configuration}
	if e, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		p.text = fmt.Sprintf("The config profile (%s) could not be found", e.Profile)
		p.hint = "check --profile and AWS_PROFILE, see: aws configure list-profiles, or make it: aws configure --profile " + e.Profile
		return p, true
	}
	if e, ok := errors.AsType[config.SharedConfigLoadError](err); ok {
		p.text, p.hint = e.Error(), "correct the file "+e.Filename
		return p, true
	}
	if e, ok := errors.AsType[*CABundleError](err); ok {
		p.text, p.hint = e.Error(), e.Source+" takes a file of certificates in PEM form"
		return p, true
	}
	if e, ok := errors.AsType[*iotsecuretunneling.EndpointError](err); ok {
		p.text, p.hint = e.Error(), "check --endpoint-url, AWS_ENDPOINT_URL_IOTSECURETUNNELING and AWS_ENDPOINT_URL"
		if e.Err != nil {
			p.hint = "check --region, AWS_REGION and the profile's region, use_fips_endpoint and use_dualstack_endpoint"
		}
		return p, true
	}
	if _, ok := errors.AsType[*aws.MissingRegionError](err); ok {
		p.text = "You must specify a region"
		p.hint = "give --region, set AWS_REGION, or run: aws configure"
		return p, true
	}
	return p, false
}

func explainService(err error) (problem, bool) {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return problem{}, false
	}
	// Getting credentials may take calls of other services: the innermost one is the one that failed.
	service, operation := innermost(err)
	// The AWS CLI's own words, since scripts look for them.
	text := fmt.Sprintf("An error occurred (%s) when calling the %s operation: %s", e.ErrorCode(), operation, e.ErrorMessage())
	help := serviceHint(service, e.ErrorCode(), operation)
	if denial, named := DenialOf(err); named {
		help = denial.Remedy(action(service, operation))
	}
	return problem{kind: Service, text: text, hint: help}, true
}

// innermost returns the service and the name of the call that failed; "" if none did.
func innermost(err error) (service, operation string) {
	for {
		op, ok := errors.AsType[*smithy.OperationError](err)
		if !ok {
			return service, operation
		}
		service, operation, err = op.ServiceID, op.OperationName, op.Err
	}
}

// action is the name that policies have for an operation.
func action(service, operation string) string {
	switch service {
	case "STS", "IAM", "SSO":
		return strings.ToLower(service) + ":" + operation
	}
	return "iot:" + operation
}

func serviceHint(service, code, operation string) string {
	tunnels := service == iotsecuretunneling.ServiceID
	switch code {
	case "ResourceNotFoundException":
		if !tunnels {
			return ""
		}
		return "the tunnel is closed, or not of this region and account; see: culvert list-tunnels"
	case "LimitExceededException":
		if !tunnels {
			return "the account's quota is used up: remove some, or have AWS raise it"
		}
		return "close tunnels that are not needed (culvert list-tunnels, culvert close-tunnel), ask for fewer services, or have AWS raise the quota"
	case "ExpiredTokenException", "ExpiredToken", "RequestExpired":
		return "the credentials have expired: get new ones, for example with: aws sso login"
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId":
		return "AWS does not know these credentials, or the account has not enabled the region: check --profile and the AWS_ variables"
	case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignatureException":
		return "check the secret access key, this machine's clock, and that --region is the endpoint's"
	case "MissingAuthenticationTokenException":
		return "this endpoint takes signed calls only: remove --no-sign-request"
	case "AccessDeniedException", "AccessDenied", "UnauthorizedException", "ForbiddenException":
		return "the IAM policy must allow " + action(service, operation) + map[bool]string{true: " on this tunnel or thing"}[tunnels]
	case "ThrottlingException", "TooManyRequestsException":
		return "there were too many calls: wait a little and try again"
	case "UnknownOperationException":
		return "what answers at this endpoint is not " + map[bool]string{true: "AWS IoT Secure Tunneling", false: "AWS IoT"}[tunnels] + ": check --endpoint-url and --region"
	case "UnknownError":
		return "something other than the service answered: check --endpoint-url and this machine's web proxy"
	}
	return ""
}

// explainCredentials knows errors of two kinds of clients: one asks for credentials when it signs, the other one before.
func explainCredentials(err error) (problem, bool) {
	e, signing := errors.AsType[*v4.SigningError](err)
	p := problem{kind: Configuration}
	_, expired := errors.AsType[*ssocreds.InvalidTokenError](err)
	path, unread := errors.AsType[*fs.PathError](err)
	if expired || unread && strings.Contains(filepath.ToSlash(path.Path), "/.aws/sso/cache/") {
		p.text, p.hint = "The SSO session has expired or is not there", "run: aws sso login, with the --profile in use"
		return p, true
	}
	if service, _ := innermost(err); service == "ec2imds" {
		// The last place of the search: there were none in all others.
		p.text = "Unable to locate credentials"
		p.hint = "give --profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run: aws configure"
		return p, true
	}
	if e, ok := errors.AsType[*processError](err); ok {
		p.text = "Unable to get credentials: " + e.Error()
		p.hint = "check the profile in use, and run its credential_process by hand to see what it prints: that is not shown here, since it may hold secrets"
		return p, true
	}
	if !signing {
		return problem{}, false
	}
	p.text, p.hint = "Unable to get credentials: "+e.Err.Error(), "check the profile in use; aws sts get-caller-identity must work with it"
	return p, true
}

func explainNetwork(err error) (problem, bool) {
	if errors.Is(err, context.Canceled) {
		return problem{text: "interrupted"}, true
	}
	e, ok := errors.AsType[*url.Error](err)
	if !ok {
		return problem{}, false
	}
	p := problem{text: fmt.Sprintf("Could not connect to the endpoint URL %q: %v", e.URL, e.Err)}
	certificate, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isHeader := errors.AsType[tls.RecordHeaderError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	dial, isOp := errors.AsType[*net.OpError](err)
	switch {
	case isCertificate:
		p.text = fmt.Sprintf("SSL validation failed for %s: %v", e.URL, certificate.Err)
		p.hint = CertificateRemedy(err)
	case isHeader, strings.Contains(e.Err.Error(), "server gave HTTP response to HTTPS client"):
		p.hint = "this endpoint does not speak TLS: write http:// in --endpoint-url"
	case isDNS && dns.IsNotFound:
		p.hint = "there is no such host: check --region and --endpoint-url, and this machine's DNS"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), e.Timeout():
		p.hint = "nothing answered in time: check the network and the web proxy (HTTPS_PROXY); --cli-connect-timeout and --cli-read-timeout make it wait longer"
	case isOp && dial.Op == "dial":
		p.hint = "nothing listens there: check --endpoint-url, and that the sandbox is up if it is one"
	case isOp && dial.Op == "proxyconnect":
		p.hint = "the web proxy cannot be reached: check HTTPS_PROXY and NO_PROXY"
	default:
		p.hint = "the connection broke: try again, and check the network and the web proxy"
	}
	return p, true
}
