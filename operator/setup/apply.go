package setup

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// Apply makes what is missing. When something fails, the error says how to take back what was made; called again, after
// another Look, it goes on where it stopped.
func (p *Plan) Apply(ctx context.Context) error {
	done := &undo{}
	certificate, err := p.apply(ctx, done)
	if err == nil {
		return nil
	}
	if certificate != "" {
		done.hint = "mend that and run the same command again: it goes on with " + p.cfg.Output
	} else {
		done.hint = "mend that and run the same command again: it goes on where it stopped"
	}
	err.Hint, err.Undo = done.hint, done.commands
	return err
}

// undo is how to take back what was made, the last thing first.
type undo struct {
	commands []string
	hint     string
}

func (u *undo) made(format string, args ...any) {
	u.commands = append([]string{fmt.Sprintf(format, args...)}, u.commands...)
}

func (p *Plan) apply(ctx context.Context, done *undo) (certificate string, failed *Error) {
	thing := p.cfg.Thing
	if !p.Thing {
		if _, err := p.client.CreateThing(ctx, &iot.CreateThingInput{ThingName: &thing}); err != nil {
			return "", &Error{Text: "make the thing " + thing, Err: err}
		}
		done.made("aws iot delete-thing --thing-name %s", thing)
		p.cfg.Report("thing " + thing + " made")
	}
	if !p.Policy {
		if _, err := p.client.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &p.PolicyName, PolicyDocument: &p.PolicyDocument}); err != nil {
			return "", &Error{Text: "make the policy " + p.PolicyName, Err: err}
		}
		done.made("aws iot delete-policy --policy-name %s", p.PolicyName)
		p.cfg.Report("policy " + p.PolicyName + " made")
	}
	certificate = p.Resumed
	if certificate == "" {
		var err error
		if certificate, err = p.makeCertificate(ctx, done); err != nil {
			return certificate, asError(err)
		}
	}
	// Both are idempotent: what is attached stays attached.
	if _, err := p.client.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &p.PolicyName, Target: &certificate}); err != nil {
		return certificate, &Error{Text: "attach the policy " + p.PolicyName + " to the certificate " + shortID(certificate), Err: err}
	}
	done.made("aws iot detach-policy --policy-name %s --target %s", p.PolicyName, certificate)
	if _, err := p.client.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &certificate}); err != nil {
		return certificate, &Error{Text: "attach the certificate " + shortID(certificate) + " to the thing " + thing, Err: err}
	}
	p.cfg.Report("certificate attached to its policy and its thing")
	return certificate, nil
}

// makeCertificate has a key signed that is made here, and puts both into the bundle before anything else can fail. The
// file is opened first: a place that cannot be written to must not cost a certificate.
func (p *Plan) makeCertificate(ctx context.Context, done *undo) (arn string, err error) {
	file, err := createBundle(p.cfg.Output)
	if err != nil {
		return "", err
	}
	filled := false
	defer func() {
		if !filled {
			file.discard()
		}
	}()
	key, request, err := newKey(p.cfg.Thing)
	if err != nil {
		return "", err
	}
	out, err := p.client.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &request, SetAsActive: true})
	if err != nil {
		return "", &Error{Text: "make a certificate", Err: err}
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
	filled = true
	return arn, nil
}
