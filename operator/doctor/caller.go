package doctor

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
)

// maxSkew is how wrong a clock may be: AWS refuses signatures that are 5 minutes off.
const (
	maxSkew  = 5 * time.Minute
	warnSkew = 30 * time.Second
)

const checkCredentials = "check --profile and the credentials: aws sts get-caller-identity must work; or run: aws configure"

// credentials gets what all calls are signed with. They may come from another service, whose silence must not be laid at the
// door of the first one that is called with them.
func (d *doctor) credentials(ctx context.Context) bool {
	if d.cfg.AWS.Region == "" {
		d.failed("region", "give --region, set AWS_REGION, or run: aws configure", "no region is set")
		return false
	}
	provider := d.cfg.AWS.Credentials
	if provider == nil || aws.IsCredentialsProvider(provider, aws.AnonymousCredentials{}) {
		return true
	}
	_, err := provider.Retrieve(ctx)
	if err == nil {
		d.cfg.STS.Credentials = provider // the same ones; they are got once
		return true
	}
	if isLate(ctx) {
		d.late(ctx, "credentials", "")
		return false
	}
	err = operator.Explain(&v4.SigningError{Err: err})
	d.failed("credentials", cmp.Or(hint.Of(err), checkCredentials), "%v", err)
	return false
}

// caller looks whom AWS sees in the caller, and at the clock. It reports whether other calls may work.
func (d *doctor) caller(ctx context.Context) bool {
	if d.cfg.STS.Region == "" {
		return true
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
	out, err := sts.NewFromConfig(d.cfg.STS).GetCallerIdentity(ctx, nil, func(o *sts.Options) { o.APIOptions = append(o.APIOptions, note) })
	if err != nil && isClock(err) {
		d.failed("clock", "set this machine's clock", "AWS refuses the signature's time")
		return false
	}
	if err != nil {
		d.unknown(ctx, "credentials", "sts:GetCallerIdentity", err)
		// What AWS STS says of the caller holds for all services. Where it says nothing, they are asked.
		return code(err) == "" || isDenied(err) || isThrottled(err)
	}
	d.callerARN = aws.ToString(out.Arn)
	d.ok("credentials", "%s, region %s", clean.Line(aws.ToString(out.Arn), 256), d.cfg.AWS.Region)
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
