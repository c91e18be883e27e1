package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/presence"
)

// Config is what the doctor asks with.
type Config struct {
	Thing string
	AWS   aws.Config // for AWS IoT and tunnels
	STS   aws.Config // the same without an endpoint of AWS IoT's; its zero value leaves AWS STS out

	// DataEndpoint is the host:port of the tunneling service's data endpoint, and Dial reaches it with TLS.
	DataEndpoint string
	Dial         func(ctx context.Context) (Reached, error)

	// Show, if set, is called with each result as it is found.
	Show func(Result)
}

// Reached says how the data endpoint was reached.
type Reached struct {
	SmallHello bool       // the host needs a small ClientHello
	Address    netip.Addr // zero through a web proxy
}

// Run asks everything, in the order in which a connection depends on it. It ends when ctx does. A step gets a part of the
// time that is left and no more, so that a host that never answers leaves time for the others; see [doctor.step].
func Run(ctx context.Context, cfg Config) Report {
	d := newDoctor(cfg)
	report := Report{Thing: cfg.Thing, Started: time.Now(), Well: true}
	if d.step(ctx, "credentials", half, d.credentials) && d.step(ctx, "credentials", third, d.caller) {
		d.step(ctx, "permissions", third, d.permissions)
		// The certificate's policy is judged for the client id that culvertd has.
		var connection []Result
		connected := d.step(ctx, "connection", third, func(ctx context.Context) (known bool) {
			connection = d.aside(func() { known = d.agent(ctx) })
			return known
		})
		if d.step(ctx, "thing", third, d.known) {
			d.step(ctx, "certificate", third, d.certificates)
		}
		for _, r := range connection {
			d.keep(r)
		}
		if connected {
			d.step(ctx, "", third, d.again)
			d.step(ctx, "subscription", third, d.subscription)
			d.step(ctx, "answer", half, d.answer)
		}
		d.step(ctx, "tunnels", third, d.tunnels)
	}
	d.step(ctx, "data_endpoint", whole, d.dataEndpoint)
	report.Results = d.results
	for _, r := range d.results {
		report.Well = report.Well && r.Status != Failed
	}
	return report
}

type doctor struct {
	run
	cfg      Config
	iot      *iot.Client
	presence *presence.Client

	callerARN string // "" if STS did not say

	thingType  string // of the thing, if that was told
	attributes map[string]string

	client string         // MQTT client id of culvertd
	state  presence.State // of the client that culvertd has by default
}

func newDoctor(cfg Config) *doctor {
	d := &doctor{client: presence.ClientID(cfg.Thing), run: run{thing: cfg.Thing, show: cfg.Show, route: new(route)}}
	cfg.AWS.HTTPClient = routedBy(d.route, cfg.AWS.HTTPClient)
	cfg.STS.HTTPClient = routedBy(d.route, cfg.STS.HTTPClient)
	d.cfg, d.iot, d.presence = cfg, iot.NewFromConfig(cfg.AWS), presence.New(cfg.AWS)
	return d
}

// known reports whether the thing exists.
func (d *doctor) known(ctx context.Context) bool {
	out, err := d.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &d.thing})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		d.failed("thing", "check the name, --region and --profile; see: culvert ls", "no thing %s in this account and region", d.thing)
		return false
	}
	if err != nil {
		d.unknown(ctx, "thing", "iot:DescribeThing", err)
		return isDenied(err)
	}
	d.thingType, d.attributes = aws.ToString(out.ThingTypeName), out.Attributes
	d.ok("thing", "%s exists", d.thing)
	return true
}

// dataEndpoint connects to the tunneling service's data endpoint.
func (d *doctor) dataEndpoint(ctx context.Context) bool {
	if d.cfg.Dial == nil {
		return false
	}
	const id = "data_endpoint"
	reached, err := d.cfg.Dial(ctx)
	switch {
	case err != nil && isLate(ctx):
		d.late(ctx, id, d.cfg.DataEndpoint)
	case operator.IsCertificate(err):
		d.failed(id, operator.CertificateRemedy(err), "%s: %s", d.cfg.DataEndpoint, clean.Line(err.Error(), 300))
	case err != nil:
		d.failed(id, "check the network, the web proxy (https_proxy), the region and --data-endpoint", "%s: %s", d.cfg.DataEndpoint, clean.Line(err.Error(), 300))
	case reached.SmallHello:
		d.warn(id, "something on the way drops large TLS packets; culvert works around it",
			"%s answers only a ClientHello without the post-quantum key share", d.cfg.DataEndpoint)
	case reached.Address.IsPrivate():
		d.ok(id, "%s accepts TLS at %s, a private address: probably a VPC endpoint, whose policy must allow iot:ConnectToTunnel",
			d.cfg.DataEndpoint, reached.Address)
	default:
		d.ok(id, "%s accepts TLS", d.cfg.DataEndpoint)
	}
	return true
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

func isDenied(err error) bool {
	switch code(err) {
	case "AccessDeniedException", "AccessDenied", "ForbiddenException", "UnauthorizedException":
		return true
	}
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok && code(err) == "" {
		return e.HTTPStatusCode() == http.StatusForbidden
	}
	return false
}

func isThrottled(err error) bool {
	switch code(err) {
	case "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded":
		return true
	}
	return false
}

func isTimeout(err error) bool { return code(err) == "GatewayTimeoutException" }

func isClock(err error) bool {
	switch code(err) {
	case "RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch":
		return strings.Contains(fmt.Sprint(err), "xpired") || code(err) == "RequestTimeTooSkewed"
	}
	return false
}
