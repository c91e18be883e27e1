package doctor

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/presence"
)

// certificates looks at the thing's certificates and at what their policies allow.
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
	var active *types.CertificateDescription
	for _, arn := range out.Principals {
		_, id, found := strings.Cut(arn, ":cert/")
		if !found {
			continue
		}
		described, err := d.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
		if err != nil {
			d.unknown(ctx, "certificate", "iot:DescribeCertificate", err)
			continue
		}
		if described.CertificateDescription == nil {
			continue
		}
		status := described.CertificateDescription.Status
		if status == types.CertificateStatusActive {
			active = described.CertificateDescription
			active.CertificateArn, active.CertificateId = &arn, &id
			d.ok("certificate", "%.8s… is active", id)
			continue
		}
		remedy := "activate it if the device is yours to trust: aws iot update-certificate --new-status ACTIVE --certificate-id " + id
		if active == nil && len(out.Principals) == 1 {
			d.failed("certificate", remedy, "%.8s… is %s", id, status)
			continue
		}
		d.warn("certificate", remedy, "%.8s… is %s", id, status)
	}
	if active != nil {
		d.policies(ctx, active)
	}
	return true
}

// policies looks whether the certificate's policies allow what culvertd needs. Policies of thing groups count as well;
// they are not read, so that what is missing here is a fault only as far as these documents say.
func (d *doctor) policies(ctx context.Context, certificate *types.CertificateDescription) {
	attached, err := d.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: certificate.CertificateArn})
	if err != nil {
		d.unknown(ctx, "policy", "iot:ListAttachedPolicies", err)
		return
	}
	if len(attached.Policies) == 0 {
		d.failed("policy", "attach a policy: aws iot attach-policy; culvert setup-thing writes one", "the certificate has no policy")
		return
	}
	var all policy
	for _, p := range attached.Policies {
		out, err := d.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: p.PolicyName})
		if err != nil {
			d.unknown(ctx, "policy", "iot:GetPolicy", err)
			return
		}
		if !d.read(&all, aws.ToString(p.PolicyName), aws.ToString(out.PolicyDocument)) {
			return
		}
	}
	who := d.subject(certificate)
	well := true
	for _, need := range needs(who) {
		switch found := all.judge(need[0], need[1], who); found.decision {
		case allowed:
			continue
		case undecided:
			d.undecided(need[0], found)
		case refused:
			d.failed("policy", "allow "+need[0]+" on "+need[1], "the certificate's policies do not allow %s", need[0])
		}
		well = false
	}
	if well {
		d.signsOfLife(&all, who)
	}
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
		thing: d.thing, clientID: presence.ClientID(d.thing), thingType: d.thingType, attributes: d.attributes,
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
