package setup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/culvert-iot/culvert/internal/hint"
)

// ApplyError is a failure of [Plan.Apply] half way.
type ApplyError struct {
	Err  error
	Undo []string // commands that undo what was made
}

func (e *ApplyError) Error() string { return e.Err.Error() }
func (e *ApplyError) Unwrap() error { return e.Err }

// Apply makes what is missing. After a failure, a new plan continues where it stopped. Error: [*ApplyError].
func (p *Plan) Apply(ctx context.Context) error {
	// A file that cannot be written must not leave anything in AWS.
	var file *newBundle
	if p.Resumed == "" && !p.PolicyOnly {
		var err error
		if file, err = createBundle(p.cfg.Output); err != nil {
			return &ApplyError{Err: err}
		}
		defer file.discard()
	}
	done := &undo{}
	err := p.apply(ctx, file, done)
	if err == nil {
		return nil
	}
	advice := "fix that and run the same command again: it continues where it stopped"
	switch {
	case p.PolicyOnly:
		advice = "fix that and run the same command again"
	case file == nil || file.complete:
		advice = "fix that and run the same command again: it continues with " + p.cfg.Output
	}
	return &ApplyError{hint.Wrap(err, strings.TrimPrefix(hint.Of(err)+"\n"+advice, "\n")), done.commands}
}

// undo collects commands, the last thing made first.
type undo struct{ commands []string }

func (u *undo) made(format string, args ...any) {
	u.commands = append([]string{fmt.Sprintf(format, args...)}, u.commands...)
}

func (p *Plan) apply(ctx context.Context, file *newBundle, done *undo) error {
	thing := p.cfg.Thing
	if !p.Thing {
		if _, err := p.client.CreateThing(ctx, &iot.CreateThingInput{ThingName: &thing}); err != nil {
			return failed("make the thing "+thing, err)
		}
		done.made("aws iot delete-thing --thing-name %s", thing)
		p.cfg.Report("thing " + thing + " made")
	}
	if !p.Policy {
		if _, err := p.client.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &p.PolicyName, PolicyDocument: &p.PolicyDocument}); err != nil {
			return failed("make the policy "+p.PolicyName, err)
		}
		done.made("aws iot delete-policy --policy-name %s", p.PolicyName)
		p.cfg.Report("policy " + p.PolicyName + " made")
	}
	if p.Outdated {
		if err := p.updatePolicy(ctx, done); err != nil {
			return err
		}
	}
	if p.PolicyOnly {
		return nil
	}
	certificate := p.Resumed
	if certificate == "" {
		var err error
		if certificate, err = p.makeCertificate(ctx, file, done); err != nil {
			return err
		}
	}
	// Both calls are idempotent.
	if _, err := p.client.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &p.PolicyName, Target: &certificate}); err != nil {
		return failed("attach the policy "+p.PolicyName+" to the certificate "+shortID(certificate), err)
	}
	done.made("aws iot detach-policy --policy-name %s --target %s", p.PolicyName, certificate)
	if _, err := p.client.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &certificate}); err != nil {
		return failed("attach the certificate "+shortID(certificate)+" to the thing "+thing, err)
	}
	p.cfg.Report("certificate attached to its policy and its thing")
	return nil
}

// updatePolicy makes the document the policy's default version. AWS IoT keeps five: where there is no room, the oldest one
// that does not hold is removed.
func (p *Plan) updatePolicy(ctx context.Context, done *undo) error {
	what := "update the policy " + p.PolicyName
	in := &iot.CreatePolicyVersionInput{PolicyName: &p.PolicyName, PolicyDocument: &p.PolicyDocument, SetAsDefault: true}
	out, err := p.client.CreatePolicyVersion(ctx, in)
	if _, full := errors.AsType[*types.VersionsLimitExceededException](err); full {
		if err := p.removeOldest(ctx); err != nil {
			return failed(what, err)
		}
		out, err = p.client.CreatePolicyVersion(ctx, in)
	}
	if err != nil {
		return failed(what, err)
	}
	id := aws.ToString(out.PolicyVersionId)
	done.made("aws iot delete-policy-version --policy-name %s --policy-version-id %s", p.PolicyName, id)
	done.made("aws iot set-default-policy-version --policy-name %s --policy-version-id %s", p.PolicyName, p.policyVersion)
	p.cfg.Report("policy " + p.PolicyName + " updated: version " + id + " is its default now, instead of " + p.policyVersion)
	return nil
}

// removeOldest removes the policy's oldest version that is not the default.
func (p *Plan) removeOldest(ctx context.Context) error {
	out, err := p.client.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: &p.PolicyName})
	if err != nil {
		return err
	}
	oldest := 0
	for _, v := range out.PolicyVersions {
		if id, err := strconv.Atoi(aws.ToString(v.VersionId)); err == nil && !v.IsDefaultVersion && (oldest == 0 || id < oldest) {
			oldest = id
		}
	}
	id := strconv.Itoa(oldest)
	if _, err := p.client.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: &p.PolicyName, PolicyVersionId: &id}); err != nil {
		return err
	}
	p.cfg.Report("version " + id + " of policy " + p.PolicyName + " removed: AWS IoT keeps five")
	return nil
}

// makeCertificate makes a key, has AWS sign it, and writes both into the bundle before the next step can fail.
func (p *Plan) makeCertificate(ctx context.Context, file *newBundle, done *undo) (arn string, err error) {
	key, request, err := newKey(p.cfg.Thing)
	if err != nil {
		return "", err
	}
	out, err := p.client.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &request, SetAsActive: true})
	if err != nil {
		return "", failed("make a certificate", err)
	}
	arn = aws.ToString(out.CertificateArn)
	id := shortID(arn)
	done.made("aws iot delete-certificate --certificate-id %s", id)
	done.made("aws iot update-certificate --certificate-id %s --new-status INACTIVE", id)
	p.cfg.Report("certificate " + id + " made, with a key of this machine")
	err = file.write(p.cfg.Device.files(p.cfg.Thing, p.Endpoint, aws.ToString(out.CertificatePem), key), record{
		Thing: p.cfg.Thing, Account: p.Account, Region: p.Region, Policy: p.PolicyName, Certificate: arn,
	})
	if err != nil {
		return "", err
	}
	return arn, nil
}
