package doctor

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

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
	active := ""
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
		status := described.CertificateDescription.Status
		if status == types.CertificateStatusActive {
			active = arn
			d.ok("certificate", "%.8s… is active", id)
			continue
		}
		remedy := "activate it if the device is yours to trust: aws iot update-certificate --new-status ACTIVE --certificate-id " + id
		if active == "" && len(out.Principals) == 1 {
			d.failed("certificate", remedy, "%.8s… is %s", id, status)
			continue
		}
		d.warn("certificate", remedy, "%.8s… is %s", id, status)
	}
	if active != "" {
		d.policies(ctx, active)
	}
	return true
}

// policies looks whether the certificate's policies allow what culvertd needs. Policies of thing groups count as well;
// they are not read, so that what is missing here is a fault only as far as these documents say.
func (d *doctor) policies(ctx context.Context, principal string) {
	attached, err := d.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &principal})
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
		if err := all.add(aws.ToString(out.PolicyDocument)); err != nil {
			d.skipped("policy", "read it yourself: aws iot get-policy --policy-name "+aws.ToString(p.PolicyName), "%s: %v", aws.ToString(p.PolicyName), err)
			return
		}
	}
	id, notify := presence.ClientID(d.thing), "$aws/things/"+d.thing+"/tunnels/notify"
	who := subject{thing: d.thing, clientID: id}
	missing := false
	for _, need := range [][2]string{
		{"iot:Connect", "client/" + id}, {"iot:Subscribe", "topicfilter/" + notify}, {"iot:Receive", "topic/" + notify},
	} {
		if all.allows(need[0], need[1], who) {
			continue
		}
		missing = true
		d.failed("policy", "allow "+need[0]+" on "+need[1], "the certificate's policies do not allow %s", need[0])
	}
	if missing {
		return
	}
	pong := "topic/" + presence.PongTopic(d.thing)
	switch {
	case !all.allows("iot:Receive", "topic/"+presence.PingTopic(d.thing), who):
		d.warn("policy", "allow iot:Receive on topic/"+presence.PingTopic(d.thing)+", so that culvert ping works",
			"the certificate's policies allow tunnels, and no signs of life")
	case !all.allows("iot:Publish", pong, who), !all.allows("iot:RetainPublish", pong, who):
		d.warn("policy", "allow iot:Publish and iot:RetainPublish on "+pong+", or leave mqtt.answer_pings off on the device: an answer that "+
			"is not allowed ends its connection", "the certificate's policies allow tunnels and pings, and no answers to pings")
	default:
		d.ok("policy", "the certificate's policies allow tunnels")
	}
}
