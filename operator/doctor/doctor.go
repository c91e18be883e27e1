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
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/internal/clean"
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

// Run asks everything, in the order in which a connection depends on it. It ends when ctx does; what was not found out
// is skipped then.
func Run(ctx context.Context, cfg Config) Report {
	d := &doctor{
		run: run{thing: cfg.Thing, show: cfg.Show}, cfg: cfg,
		iot: iot.NewFromConfig(cfg.AWS), presence: presence.New(cfg.AWS),
	}
	report := Report{Thing: cfg.Thing, Started: time.Now(), Well: true}
	if d.caller(ctx) {
		d.permissions(ctx)
		if d.known(ctx) {
			d.certificates(ctx)
		}
		d.agent(ctx)
		d.tunnels(ctx)
	}
	d.dataEndpoint(ctx)
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
}

// maxSkew is how wrong a clock may be: AWS refuses signatures that are 5 minutes off.
const (
	maxSkew  = 5 * time.Minute
	warnSkew = 30 * time.Second
)

// caller looks at this side: credentials, region, clock.
func (d *doctor) caller(ctx context.Context) bool {
	if d.cfg.AWS.Region == "" {
		d.failed("region", "give --region, set AWS_REGION, or run: aws configure", "no region is set")
		return false
	}
	var date time.Time
	note := func(s *middleware.Stack) error {
		return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Date", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleDeserialize(ctx, in)
			if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp != nil {
				date, _ = http.ParseTime(resp.Header.Get("Date"))
			}
			return out, metadata, err
		}), middleware.Before)
	}
	before := time.Now()
	if d.cfg.STS.Region != "" {
		out, err := sts.NewFromConfig(d.cfg.STS).GetCallerIdentity(ctx, nil, func(o *sts.Options) { o.APIOptions = append(o.APIOptions, note) })
		if err != nil && isClock(err) {
			d.failed("clock", "set this machine's clock", "AWS refuses the signature's time")
			return false
		}
		if err != nil {
			d.unknown(ctx, "credentials", "sts:GetCallerIdentity", err)
			return isDenied(err)
		}
		d.callerARN = aws.ToString(out.Arn)
		d.ok("credentials", "%s, region %s", clean.Line(aws.ToString(out.Arn), 256), d.cfg.AWS.Region)
	}
	if !date.IsZero() {
		d.clock(time.Since(before)/2 + before.Sub(date))
	}
	return true
}

// clock judges how far this machine's clock is ahead of AWS's.
func (d *doctor) clock(ahead time.Duration) {
	off := ahead.Abs().Round(time.Second)
	switch {
	case off > maxSkew:
		d.failed("clock", "set this machine's clock: AWS refuses signatures that are 5 minutes off", "%v off AWS's", off)
	case off > warnSkew:
		d.warn("clock", "set this machine's clock", "%v off AWS's", off)
	default:
		d.ok("clock", "as AWS's")
	}
}

// known reports whether the thing exists.
func (d *doctor) known(ctx context.Context) bool {
	_, err := d.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &d.thing})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		d.failed("thing", "check the name, --region and --profile; see: culvert ls", "no thing %s in this account and region", d.thing)
		return false
	}
	if err != nil {
		d.unknown(ctx, "thing", "iot:DescribeThing", err)
		return isDenied(err)
	}
	d.ok("thing", "%s exists", d.thing)
	return true
}

// agent looks at culvertd's MQTT connection.
func (d *doctor) agent(ctx context.Context) {
	id := presence.ClientID(d.thing)
	state, err := d.presence.Look(ctx, d.thing)
	if err != nil {
		d.unknown(ctx, "connection", "iot:DescribeEndpoint, and iot:GetConnection on client/"+id, err)
		return
	}
	from := ""
	if state.Address != "" {
		from = " from " + state.Address
	}
	ago := state.Ago(time.Now())
	switch {
	case !state.Known:
		d.failed("connection", d.neverConnected(ctx), "%s has never connected", id)
	case !state.Connected:
		d.failed("connection", remedyFor(state.Reason, id), "%s is not connected: last seen %s ago%s, %s", id, orUnknown(ago), from, orUnknown(state.Reason))
	case state.Thing != "" && state.Thing != d.thing:
		d.warn("connection", "a tunnel for "+d.thing+" reaches the device that uses this client id: check thing_name there",
			"%s is connected%s, with the certificate of %s", id, from, state.Thing)
	default:
		d.ok("connection", "%s is connected%s, for %s", id, from, orUnknown(ago))
	}
	if !state.Connected {
		d.skipped("subscription", "", "not looked at: the device is not connected")
		d.skipped("answer", "", "not asked: the device is not connected")
		return
	}
	if state.Connected && time.Since(state.Since) < time.Minute && state.Reason == "" {
		d.again(ctx, id, state)
	}
	d.subscription(ctx)
	d.answer(ctx)
}

// again looks whether a young connection is replaced at once, which is how two clients with one id look.
func (d *doctor) again(ctx context.Context, id string, before presence.State) {
	select {
	case <-time.After(lookAgain):
	case <-ctx.Done():
		return
	}
	now, err := d.presence.Look(ctx, d.thing)
	if err != nil || now.Connected && now.Since.Equal(before.Since) {
		return
	}
	d.warn("client_id", "look for a second client with the id "+id+", such as a copy of the device: two of them disconnect each other",
		"the connection of %s does not last: it was replaced within %v", id, lookAgain)
}

// lookAgain is longer than a second, AWS IoT's limit of CONNECTs for one client id.
const lookAgain = 2 * time.Second

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// neverConnected says what keeps a client from its first connection.
func (d *doctor) neverConnected(ctx context.Context) string {
	if other, err := d.presence.LookClient(ctx, d.thing); err == nil && other.Connected {
		return "the client " + d.thing + " is connected, which is the device's other program: install culvertd, or start it"
	}
	return "start culvertd on the device, and run: sudo culvertd check"
}

// remedyFor says what to do about a connection that ended.
func remedyFor(reason, id string) string {
	switch reason {
	case "DUPLICATE_CLIENTID":
		return "another client connected as " + id + ": look for a second culvertd, or a copy of the device"
	case "AUTH_ERROR", "FORBIDDEN_ACCESS":
		return "its policy refused something: run on the device: sudo culvertd check"
	case "CLIENT_INITIATED_DISCONNECT":
		return "culvertd was stopped, or the device was shut down: start it"
	case "API_INITIATED_DISCONNECT", "SERVER_INITIATED_DISCONNECT":
		return "AWS ended the connection, or a call of DeleteConnection did; culvertd should be back within a minute"
	case "THROTTLED":
		return "the account's connections are throttled: see the quotas of AWS IoT Core"
	}
	return "check the device's power and network"
}

// subscription looks whether the device hears of tunnels.
func (d *doctor) subscription(ctx context.Context) {
	topic := "$aws/things/" + d.thing + "/tunnels/notify"
	list, err := d.presence.Subscriptions(ctx, d.thing)
	if err != nil {
		d.unknown(ctx, "subscription", "iot:ListSubscriptions on client/"+presence.ClientID(d.thing), err)
		return
	}
	for _, s := range list {
		if s.TopicFilter == topic {
			d.ok("subscription", "the device is subscribed to its tunnel notifications")
			return
		}
	}
	others := make([]string, 0, len(list))
	for _, s := range list {
		others = append(others, clean.Line(s.TopicFilter, 100))
	}
	text := "the device is not subscribed to " + topic
	if len(others) > 0 {
		text += ", but to " + strings.Join(others[:min(3, len(others))], ", ")
	}
	d.failed("subscription", "its policy must allow iot:Subscribe on topicfilter/"+topic+"; thing_name on the device must be "+d.thing, "%s", text)
}

// answer asks culvertd for a sign of life.
func (d *doctor) answer(ctx context.Context) {
	took, err := d.presence.Ping(ctx, d.thing, pingTimeout)
	switch {
	case err == nil:
		d.ok("answer", "culvertd answered in %s", took.Round(time.Millisecond))
	case isTimeout(err):
		d.warn("answer", "its policy must allow iot:Receive on topic/"+presence.PingTopic(d.thing)+"; a link that broke a moment ago looks the same",
			"culvertd acknowledged nothing within %v", pingTimeout)
	default:
		d.unknown(ctx, "answer", "iot:SendDirectMessage on client/"+presence.ClientID(d.thing), err)
	}
}

const pingTimeout = 3 * time.Second

// dataEndpoint connects to the tunneling service's data endpoint.
func (d *doctor) dataEndpoint(ctx context.Context) {
	if d.cfg.Dial == nil {
		return
	}
	reached, err := d.cfg.Dial(ctx)
	switch {
	case err != nil:
		d.failed("data_endpoint", "check the network, the web proxy (https_proxy), the region and --data-endpoint", "%s: %s", d.cfg.DataEndpoint, clean.Line(err.Error(), 300))
	case reached.SmallHello:
		d.warn("data_endpoint", "something on the way drops large TLS packets; culvert works around it",
			"%s answers only a ClientHello without the post-quantum key share", d.cfg.DataEndpoint)
	case reached.Address.IsPrivate():
		d.ok("data_endpoint", "%s accepts TLS at %s, a private address: probably a VPC endpoint, whose policy must allow iot:ConnectToTunnel",
			d.cfg.DataEndpoint, reached.Address)
	default:
		d.ok("data_endpoint", "%s accepts TLS", d.cfg.DataEndpoint)
	}
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
