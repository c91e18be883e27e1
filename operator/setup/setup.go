package setup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/services"
)

// Config describes the device to set up. AWS, Thing and Output are required.
type Config struct {
	AWS   aws.Config
	STS   aws.Config // to ask for Account, without an endpoint that is for AWS IoT only
	Thing string
	// Account has 12 digits. If it is empty, NewPlan asks AWS STS.
	Account string
	// PolicyName defaults to "culvert-" and the thing's name.
	PolicyName string
	// Output is the path of the bundle. An existing file is never overwritten: Apply continues with the bundle of an
	// earlier call, and NewPlan refuses any other file.
	Output string
	// NewCertificate makes another certificate for a thing that has one.
	NewCertificate bool

	Device Device

	// Report receives a line for each thing done. May be nil.
	Report func(text string)
}

// Plan is what exists and what is missing.
type Plan struct {
	Account, Region string
	Endpoint        string // the device's, host or host:port
	Thing           bool   // it exists
	PolicyName      string
	PolicyDocument  string
	Policy          bool     // it exists
	Outdated        bool     // as an earlier version of this package wrote it: Apply makes PolicyDocument its default version
	Certificates    []string // ARNs of the thing's
	// PolicyOnly reports that nothing but the policy is to be updated: the thing has a certificate, and its bundle is elsewhere.
	PolicyOnly bool

	// Resumed is the certificate of an existing bundle. "": Apply makes one.
	Resumed string
	// Attached reports that Resumed is attached to its policy and its thing.
	Attached bool

	cfg           Config
	client        *iot.Client
	policyVersion string // the default version's id
}

// Done reports that nothing is missing.
func (p *Plan) Done() bool {
	return p.Thing && p.Policy && !p.Outdated && p.Resumed != "" && p.Attached
}

// maxThing leaves room for "-tunnel" in a client id of 128 bytes (AWS IoT quotas).
const maxThing = 121

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	policyForm  = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`) // API reference, CreatePolicy
)

// BadRequestError is the error of a configuration that cannot be; nothing was asked for.
type BadRequestError struct{ text string }

func (e *BadRequestError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &BadRequestError{fmt.Sprintf(format, args...)}
}

// NewPlan finds out what exists. It changes nothing. Errors carry a hint (package hint) where there is one.
func NewPlan(ctx context.Context, cfg Config) (*Plan, error) {
	if !services.ValidName(cfg.Thing) || len(cfg.Thing) > maxThing {
		return nil, badRequest("%q cannot be the name of a thing: 1 to %d of a-z, A-Z, 0-9, :, _ and - are allowed", cfg.Thing, maxThing)
	}
	if cfg.PolicyName == "" {
		cfg.PolicyName = "culvert-" + strings.ReplaceAll(cfg.Thing, ":", ".") // a thing's name holds no dot
	}
	if !policyForm.MatchString(cfg.PolicyName) {
		return nil, badRequest("%q cannot be the name of a policy: 1 to 128 of a-z, A-Z, 0-9, and _+=,.@- are allowed", cfg.PolicyName)
	}
	if cfg.Account != "" && !accountForm.MatchString(cfg.Account) {
		return nil, badRequest("%q is not the number of an account: it has 12 digits", cfg.Account)
	}
	if cfg.Report == nil {
		cfg.Report = func(string) {}
	}
	p := &Plan{Account: cfg.Account, Region: cfg.AWS.Region, PolicyName: cfg.PolicyName, cfg: cfg, client: iot.NewFromConfig(cfg.AWS)}
	steps := []func(context.Context) error{p.findAccount, p.findEndpoint, p.findThing, p.findPolicy, p.findBundle}
	for _, find := range steps {
		if err := find(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Plan) findAccount(ctx context.Context) error {
	if p.Region == "" {
		return operator.Explain(&aws.MissingRegionError{})
	}
	if p.Account == "" {
		out, err := sts.NewFromConfig(p.cfg.STS).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			err = failed("find the account's number", err)
			return hint.Wrap(err, strings.TrimPrefix(hint.Of(err)+"\ngive it with --account", "\n"))
		}
		p.Account = aws.ToString(out.Account)
	}
	if !accountForm.MatchString(p.Account) {
		return fmt.Errorf("%q is not the number of an account: it has 12 digits", p.Account)
	}
	p.PolicyDocument = policyDocument(policyStatements(p.Region, p.Account, p.cfg.Thing))
	return nil
}

func (p *Plan) findEndpoint(ctx context.Context) error {
	out, err := p.client.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return failed("ask for the account's endpoint", err)
	}
	p.Endpoint = aws.ToString(out.EndpointAddress)
	return nil
}

func (p *Plan) findThing(ctx context.Context) error {
	_, err := p.client.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &p.cfg.Thing})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return failed("look for the thing "+p.cfg.Thing, err)
	}
	p.Thing = true
	pages := &iot.ListThingPrincipalsInput{ThingName: &p.cfg.Thing}
	for {
		out, err := p.client.ListThingPrincipals(ctx, pages)
		if err != nil {
			return failed("list the certificates of the thing "+p.cfg.Thing, err)
		}
		p.Certificates = append(p.Certificates, out.Principals...)
		if pages.NextToken = out.NextToken; aws.ToString(out.NextToken) == "" {
			return nil
		}
	}
}

func (p *Plan) findPolicy(ctx context.Context) error {
	out, err := p.client.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &p.PolicyName})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return failed("look for the policy "+p.PolicyName, err)
	}
	document := aws.ToString(out.PolicyDocument)
	p.Outdated = earlierPolicy(document, policyStatements(p.Region, p.Account, p.cfg.Thing))
	p.policyVersion = aws.ToString(out.DefaultVersionId)
	if !p.Outdated && !samePolicy(document, p.PolicyDocument) {
		return hint.New("there is a policy "+p.PolicyName+" already, and it says something else",
			"see it with: aws iot get-policy --policy-name "+p.PolicyName+"; if it allows what a device needs, leave it, or name another with --policy-name")
	}
	p.Policy = true
	return nil
}

// findBundle finds the bundle of an earlier call. Without one, a thing that has a certificate may work as it is: another
// certificate would only be one more key to lose.
func (p *Plan) findBundle(ctx context.Context) error {
	b, err := readBundle(p.cfg.Output)
	if err != nil {
		return err
	}
	if b == nil {
		switch {
		case len(p.Certificates) == 0 || p.cfg.NewCertificate:
		case p.Outdated:
			p.PolicyOnly = true
		default:
			return hint.New(
				fmt.Sprintf("the thing %s has a certificate already (%s), and AWS does not keep its private key", p.cfg.Thing, shortID(p.Certificates[0])),
				"if the device has it, nothing is left to do; if its key is lost, make another with --new-certificate")
		}
		return nil
	}
	there := p.cfg.Output + " is there already, and "
	r := b.record
	if r.Thing != p.cfg.Thing || r.Region != p.Region || r.Account != p.Account || r.Policy != p.PolicyName {
		return hint.New(
			fmt.Sprintf("%sis of thing %s with policy %s, account %s, region %s", there, r.Thing, r.Policy, r.Account, r.Region),
			"name another file with --output")
	}
	id := shortID(r.Certificate)
	out, err := p.client.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if isMissing(err) {
		return hint.New(fmt.Sprintf("%sAWS IoT does not know its certificate %s any more", there, id), "remove the file to make another")
	}
	if err != nil {
		return failed("look for the certificate "+id, err)
	}
	if status := out.CertificateDescription.Status; status != types.CertificateStatusActive {
		return hint.New(fmt.Sprintf("%sits certificate %s is %s", there, id, status),
			"activate it with: aws iot update-certificate --new-status ACTIVE --certificate-id "+id+"; or remove the file to make another")
	}
	if what := b.changed(p.cfg.Thing, p.Endpoint, aws.ToString(out.CertificateDescription.CertificatePem)); what != "" {
		return hint.New(there+"its "+what+" is not what setup-thing writes", "do not use it unless you made it; name another file with --output")
	}
	if what := b.differs(p.cfg.Device); what != "" {
		return hint.New(there+"has other "+what+" than the options", "omit the options to use it as it is, or remove it and add --new-certificate")
	}
	p.Resumed = r.Certificate
	if !p.Thing || !p.Policy || !slices.Contains(p.Certificates, p.Resumed) {
		return nil
	}
	attached, err := p.client.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &p.Resumed})
	if err != nil {
		return failed("list the policies of the certificate "+id, err)
	}
	p.Attached = slices.ContainsFunc(attached.Policies, func(a types.Policy) bool { return aws.ToString(a.PolicyName) == p.PolicyName })
	return nil
}

// failed says what failed, in front of AWS's reason in words.
func failed(what string, err error) error { return fmt.Errorf("%s: %w", what, operator.Explain(err)) }

func isMissing(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

// shortID is the last part of a certificate's ARN.
func shortID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
