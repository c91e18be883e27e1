// Package setup makes a device known to AWS IoT: a thing, a policy that allows no more than tunnels need, and a
// certificate whose private key is made here and never leaves but in the bundle that the device gets.
//
// Look only reads. Apply makes what is missing, and nothing twice: it can be called again after a failure half way. It
// does not know how a device uses the bundle, but for the names of the files in it.
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

	"github.com/culvert-iot/culvert/services"
)

// Config says which device to set up. AWS, Thing and Output are required.
type Config struct {
	AWS   aws.Config
	STS   aws.Config // to ask for Account: without an endpoint that is meant for AWS IoT alone
	Thing string
	// Account is asked from AWS STS if it is not given: 12 digits.
	Account string
	// PolicyName is "culvert-" and the thing's name if it is not given.
	PolicyName string
	// Output is the path of the bundle. A file that is there is never written over: one that an earlier call left is gone
	// on with.
	Output string
	// NewCertificate makes another certificate for a thing that has one.
	NewCertificate bool

	Device Device

	// Report is told what was done, a line each. nil: nobody is.
	Report func(text string)
}

// Error is what keeps a device from being set up, with what to do.
type Error struct {
	Text string
	Hint string // may be empty
	Undo []string
	Err  error // what AWS or the system said; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Plan is what is there and what is not.
type Plan struct {
	Account, Region string
	Endpoint        string // the device's, host or host:port
	Thing           bool   // it is there
	PolicyName      string
	PolicyDocument  string
	Policy          bool     // it is there
	Certificates    []string // ARNs of those that the thing has

	// Resumed is the certificate of a bundle that is there; "" if a new one is to be made.
	Resumed string
	// Attached tells that Resumed has its policy and its thing already.
	Attached bool

	cfg    Config
	client *iot.Client
}

// Done tells that there is nothing to do.
func (p *Plan) Done() bool { return p.Thing && p.Policy && p.Resumed != "" && p.Attached }

// maxThing leaves room for "-tunnel" in a client id of 128 bytes (AWS IoT quotas).
const maxThing = 121

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	policyForm  = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`) // API reference, CreatePolicy
)

// Look finds out what is there and what is to be made. It changes nothing. What is in the way is an *Error.
func Look(ctx context.Context, cfg Config) (*Plan, error) {
	if !services.ValidName(cfg.Thing) || len(cfg.Thing) > maxThing {
		return nil, &Error{Text: fmt.Sprintf("%q cannot be the name of a thing: 1 to %d of a-z, A-Z, 0-9, :, _ and - are allowed", cfg.Thing, maxThing)}
	}
	if cfg.PolicyName == "" {
		cfg.PolicyName = "culvert-" + strings.ReplaceAll(cfg.Thing, ":", ".") // a thing's name holds no dot
	}
	if !policyForm.MatchString(cfg.PolicyName) {
		return nil, &Error{Text: fmt.Sprintf("%q cannot be the name of a policy: 1 to 128 of a-z, A-Z, 0-9, and _+=,.@- are allowed", cfg.PolicyName)}
	}
	if cfg.Report == nil {
		cfg.Report = func(string) {}
	}
	p := &Plan{Account: cfg.Account, Region: cfg.AWS.Region, PolicyName: cfg.PolicyName, cfg: cfg, client: iot.NewFromConfig(cfg.AWS)}
	steps := []func(context.Context) error{p.lookAtAccount, p.lookAtEndpoint, p.lookAtThing, p.lookAtPolicy, p.lookAtBundle}
	for _, look := range steps {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Plan) lookAtAccount(ctx context.Context) error {
	if p.Region == "" {
		return &aws.MissingRegionError{}
	}
	if p.Account == "" {
		out, err := sts.NewFromConfig(p.cfg.STS).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return &Error{Text: "find out the account's number", Hint: "give it with --account", Err: err}
		}
		p.Account = aws.ToString(out.Account)
	}
	if !accountForm.MatchString(p.Account) {
		return &Error{Text: fmt.Sprintf("%q is no number of an account: it has 12 digits", p.Account)}
	}
	p.PolicyDocument = policyDocument(p.Region, p.Account, p.cfg.Thing)
	return nil
}

func (p *Plan) lookAtEndpoint(ctx context.Context) error {
	out, err := p.client.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return &Error{Text: "ask for the account's endpoint", Err: err}
	}
	p.Endpoint = aws.ToString(out.EndpointAddress)
	return nil
}

func (p *Plan) lookAtThing(ctx context.Context) error {
	_, err := p.client.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &p.cfg.Thing})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return &Error{Text: "look for the thing " + p.cfg.Thing, Err: err}
	}
	p.Thing = true
	pages := &iot.ListThingPrincipalsInput{ThingName: &p.cfg.Thing}
	for {
		out, err := p.client.ListThingPrincipals(ctx, pages)
		if err != nil {
			return &Error{Text: "list the certificates of the thing " + p.cfg.Thing, Err: err}
		}
		p.Certificates = append(p.Certificates, out.Principals...)
		if pages.NextToken = out.NextToken; aws.ToString(out.NextToken) == "" {
			return nil
		}
	}
}

func (p *Plan) lookAtPolicy(ctx context.Context) error {
	out, err := p.client.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &p.PolicyName})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return &Error{Text: "look for the policy " + p.PolicyName, Err: err}
	}
	if !samePolicy(aws.ToString(out.PolicyDocument), p.PolicyDocument) {
		return &Error{
			Text: "there is a policy " + p.PolicyName + " already, and it says something else",
			Hint: "look at it with: aws iot get-policy --policy-name " + p.PolicyName + "; delete it, or name another with --policy-name",
		}
	}
	p.Policy = true
	return nil
}

// lookAtBundle finds a bundle that an earlier call has left. Without one, a thing that has a certificate already may
// work as it is: another would only be one more key to lose.
func (p *Plan) lookAtBundle(ctx context.Context) error {
	record, err := readRecord(p.cfg.Output)
	if err != nil {
		return err
	}
	if record == nil {
		if len(p.Certificates) > 0 && !p.cfg.NewCertificate {
			return &Error{
				Text: fmt.Sprintf("the thing %s has a certificate already (%s), and AWS does not keep its private key", p.cfg.Thing, shortID(p.Certificates[0])),
				Hint: "if the device has it, nothing is left to do; if its key is lost, make another with --new-certificate",
			}
		}
		return nil
	}
	if record.Thing != p.cfg.Thing || record.Region != p.Region || record.Account != p.Account || record.Policy != p.PolicyName {
		return &Error{
			Text: fmt.Sprintf("%s is there already, and is of thing %s with policy %s, account %s, region %s", p.cfg.Output, record.Thing, record.Policy, record.Account, record.Region),
			Hint: "name another file with --output",
		}
	}
	id := shortID(record.Certificate)
	out, err := p.client.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if isMissing(err) {
		return &Error{Text: fmt.Sprintf("%s is there already, and AWS IoT does not know its certificate %s any more", p.cfg.Output, id), Hint: "remove the file to make another"}
	}
	if err != nil {
		return &Error{Text: "look for the certificate " + id, Err: err}
	}
	if status := out.CertificateDescription.Status; status != types.CertificateStatusActive {
		return &Error{
			Text: fmt.Sprintf("%s is there already, and its certificate %s is %s", p.cfg.Output, id, status),
			Hint: "activate it with: aws iot update-certificate --new-status ACTIVE --certificate-id " + id + "; or remove the file to make another",
		}
	}
	p.Resumed = record.Certificate
	if !p.Thing || !p.Policy || !slices.Contains(p.Certificates, p.Resumed) {
		return nil
	}
	attached, err := p.client.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &p.Resumed})
	if err != nil {
		return &Error{Text: "list the policies of the certificate " + id, Err: err}
	}
	p.Attached = slices.ContainsFunc(attached.Policies, func(a types.Policy) bool { return aws.ToString(a.PolicyName) == p.PolicyName })
	return nil
}

func isMissing(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

// shortID is what a certificate's ARN ends with.
func shortID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
