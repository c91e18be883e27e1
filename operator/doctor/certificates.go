package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/presence"
)

// certificates looks at the thing's certificates and at what their policies allow. The device uses one of the active ones;
// AWS does not say which.
func (d *doctor) certificates(ctx context.Context) bool {
	out, err := d.iot.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: &d.thing})
	if err != nil {
		d.unknown(ctx, "certificate", "iot:ListThingPrincipals", err)
		return false
	}
	if len(out.Principals) == 0 {
		d.warn("certificate", "attach its certificate: aws iot attach-thing-principal; a custom authorizer needs none",
			"no certificate is attached to the thing")
		return false
	}
	var active, others []*types.CertificateDescription
	hidden := false
	for _, arn := range out.Principals {
		_, id, found := strings.Cut(arn, ":cert/")
		if !found {
			continue
		}
		described, err := d.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
		if err == nil && described.CertificateDescription == nil {
			err = errNoCertificate
		}
		if err != nil {
			d.unknown(ctx, "certificate", "iot:DescribeCertificate", err)
			hidden = true
			continue
		}
		c := described.CertificateDescription
		c.CertificateArn, c.CertificateId = &arn, &id
		if c.Status != types.CertificateStatusActive {
			others = append(others, c)
			continue
		}
		active = append(active, c)
		d.ok("certificate", "%.8s… is active", id)
	}
	for _, c := range others {
		report := d.warn
		if len(active) == 0 && !hidden {
			report = d.failed
		}
		report("certificate", "activate it if the device is yours to trust: aws iot update-certificate --new-status ACTIVE --certificate-id "+*c.CertificateId,
			"%.8s… is %s", *c.CertificateId, c.Status)
	}
	d.policiesOf(ctx, active)
	return true
}

var errNoCertificate = errors.New("AWS IoT's answer has no certificate")

// policiesOf judges the policies of active certificates. What is wrong with one of several is no fault if another one will
// do: the device may use that.
func (d *doctor) policiesOf(ctx context.Context, active []*types.CertificateDescription) {
	failed := func(r Result) bool { return r.Status == Failed }
	found, well := make([][]Result, len(active)), false
	for i, c := range active {
		found[i] = d.aside(func() { d.policies(ctx, c) })
		well = well || !slices.ContainsFunc(found[i], failed)
	}
	for i, list := range found {
		for _, r := range list {
			if len(active) > 1 {
				r.Text = fmt.Sprintf("%.8s…: %s", *active[i].CertificateId, r.Text)
				if failed(r) && well {
					r.Status = Warning
					r.Text += "; the device uses one of its active certificates, perhaps not this one"
				}
			}
			d.keep(r)
		}
	}
}

// policies looks whether the certificate's policies allow what culvertd needs.
func (d *doctor) policies(ctx context.Context, certificate *types.CertificateDescription) {
	var own policy
	if !d.attached(ctx, &own, certificate) {
		return
	}
	who := d.subject(certificate)
	if own.sufficesFor(who) {
		d.signsOfLife(&own, who)
		return
	}
	all, complete, ok := d.withGroups(ctx, own, certificate)
	if !ok {
		return
	}
	switch suffices := all.sufficesFor(who); {
	case suffices && who.clientID == d.thing:
		d.signsOfLife(&all, who)
		return
	case suffices:
		d.warn("policy", "attach such a policy to the certificate itself: aws iot attach-policy",
			"only policies of the thing's groups allow tunnels: they count where the client id is the thing's name, or the certificate is attached "+
				"exclusively to the thing")
		return
	}
	const groups = "allow iot:GetEffectivePolicies to see those of the thing's groups"
	switch empty := len(all.statements) == 0; {
	case empty && complete:
		d.failed("policy", "attach a policy: aws iot attach-policy; culvert setup-thing writes one", "the certificate has no policy")
		return
	case empty:
		d.skipped("policy", groups, "unknown: the certificate has no policy of its own, and those of the thing's groups were not read")
		return
	}
	for _, need := range needs(who) {
		switch found := all.judge(need[0], need[1], who); {
		case found.decision == undecided:
			d.undecided(need[0], found)
		case found.decision == refused && complete:
			d.failed("policy", "allow "+need[0]+" on "+need[1], "the certificate's policies do not allow %s", need[0])
		case found.decision == refused:
			d.skipped("policy", groups, "unknown: the certificate's own policies do not allow %s, and those of the thing's groups were not read", need[0])
		}
	}
}

// attached reads the policies that are attached to a certificate.
func (d *doctor) attached(ctx context.Context, own *policy, certificate *types.CertificateDescription) bool {
	list, err := d.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: certificate.CertificateArn})
	if err != nil {
		d.unknown(ctx, "policy", "iot:ListAttachedPolicies", err)
		return false
	}
	for _, p := range list.Policies {
		out, err := d.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: p.PolicyName})
		if err != nil {
			d.unknown(ctx, "policy", "iot:GetPolicy", err)
			return false
		}
		if !d.read(own, aws.ToString(p.PolicyName), aws.ToString(out.PolicyDocument)) {
			return false
		}
	}
	return true
}

// withGroups adds the policies that a certificate has by the thing's groups. complete is false if the caller may not see them
// and the thing may have some.
func (d *doctor) withGroups(ctx context.Context, own policy, certificate *types.CertificateDescription) (all policy, complete, ok bool) {
	out, err := d.iot.GetEffectivePolicies(ctx, &iot.GetEffectivePoliciesInput{Principal: certificate.CertificateArn, ThingName: &d.thing})
	if isDenied(err) {
		groups, known := d.thingGroups(ctx)
		return own, known && len(groups) == 0, true
	}
	if err != nil {
		d.unknown(ctx, "policy", "iot:GetEffectivePolicies", err)
		return own, false, false
	}
	all.statements = slices.Clone(own.statements)
	for _, p := range out.EffectivePolicies { // some of them again, which changes nothing
		if !d.read(&all, aws.ToString(p.PolicyName), aws.ToString(p.PolicyDocument)) {
			return all, false, false
		}
	}
	return all, true, true
}

// read adds a document to a policy, or says that it cannot be read.
func (d *doctor) read(all *policy, name, document string) bool {
	if err := all.add(name, document); err != nil {
		d.skipped("policy", readIt(name), "%s: %v", clean.Line(name, 128), err)
		return false
	}
	return true
}

func readIt(policy string) string {
	return "read it yourself: aws iot get-policy --policy-name " + clean.Line(policy, 128)
}

// undecided says what keeps an action from being judged.
func (d *doctor) undecided(action string, j judgement) {
	d.skipped("policy", readIt(j.policy), "whether the certificate's policies allow %s cannot be judged from here: %s depends on %s",
		action, clean.Line(j.policy, 128), clean.Line(j.why, 100))
}

// subject is the thing with one of its certificates.
func (d *doctor) subject(certificate *types.CertificateDescription) subject {
	return subject{
		thing: d.thing, clientID: d.client, thingType: d.thingType, attributes: d.attributes,
		certificateID: aws.ToString(certificate.CertificateId), certificate: parsePEM(aws.ToString(certificate.CertificatePem)),
	}
}

// needs are the actions without which there is no tunnel, and their resources.
func needs(who subject) [][2]string {
	notify := "$aws/things/" + who.thing + "/tunnels/notify"
	return [][2]string{
		{"iot:Connect", "client/" + who.clientID}, {"iot:Subscribe", "topicfilter/" + notify}, {"iot:Receive", "topic/" + notify},
	}
}

// sufficesFor reports whether a policy allows all that takes.
func (p *policy) sufficesFor(who subject) bool {
	return !slices.ContainsFunc(needs(who), func(need [2]string) bool { return p.judge(need[0], need[1], who).decision != allowed })
}

// signsOfLife looks at what pings and their answers need, of policies that allow tunnels.
func (d *doctor) signsOfLife(all *policy, who subject) {
	ping, pong := "topic/"+presence.PingTopic(d.thing), "topic/"+presence.PongTopic(d.thing)
	hears := all.judge("iot:Receive", ping, who)
	speaks, keeps := all.judge("iot:Publish", pong, who), all.judge("iot:RetainPublish", pong, who)
	switch {
	case hears.decision == refused:
		d.warn("policy", "allow iot:Receive on "+ping+", so that culvert ping works", "the certificate's policies allow tunnels, and no signs of life")
	case speaks.decision == refused, keeps.decision == refused:
		d.warn("policy", "allow iot:Publish and iot:RetainPublish on "+pong+", or leave mqtt.answer_pings off on the device: an answer that "+
			"is not allowed ends its connection", "the certificate's policies allow tunnels and pings, and no answers to pings")
	default:
		d.ok("policy", "the certificate's policies allow tunnels")
	}
	for i, found := range []judgement{hears, speaks, keeps} {
		if found.decision == undecided {
			d.undecided([]string{"iot:Receive", "iot:Publish", "iot:RetainPublish"}[i]+" for pings", found)
		}
	}
}
