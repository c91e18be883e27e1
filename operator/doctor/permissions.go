package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/culvert-iot/culvert/internal/clean"
)

// needed are the caller's actions that doctor must not try, with what fails without them. Those that it calls itself
// show by their own answers.
var needed = []string{"iot:OpenTunnel", "iot:RotateTunnelAccessToken", "iot:CloseTunnel"}

// permissions asks IAM's policy simulator whether the caller may open, rotate and close tunnels. It judges the policies of
// the user or role; policies of the session and of VPC endpoints it does not know.
func (d *doctor) permissions(ctx context.Context) {
	const id = "permissions"
	caller, err := arn.Parse(d.callerARN)
	if err != nil {
		return // there is no caller, or STS was not asked
	}
	source, assumed, ok := policySource(caller)
	if !ok {
		d.skipped(id, "", "unknown: IAM simulates the policies of users and roles only")
		return
	}
	client := newIAM(d.cfg.STS, caller.Partition)
	tunnels := arn.ARN{Partition: caller.Partition, Service: "iot", Region: d.cfg.AWS.Region, AccountID: caller.AccountID, Resource: "tunnel/*"}.String()
	results, err := client.simulate(ctx, source, needed, tunnels)
	if code(err) == "NoSuchEntity" && assumed != "" {
		// An assumed role's ARN lacks the role's path, which those of IAM Identity Center have.
		if source, err = client.roleARN(ctx, assumed); err == nil {
			results, err = client.simulate(ctx, source, needed, tunnels)
		}
	}
	if err != nil {
		d.unknown(ctx, id, "iam:SimulatePrincipalPolicy (and iam:GetRole for a role with a path)", err)
		return
	}
	var denied, depends, keys []string
	for _, r := range results {
		switch {
		case r.Decision == "allowed":
		case len(r.MissingContext) > 0 && r.Decision == "implicitDeny":
			depends, keys = append(depends, r.Action), append(keys, r.MissingContext...)
		default:
			denied = append(denied, r.Action)
		}
	}
	switch {
	case slices.Contains(denied, needed[0]), slices.Contains(denied, needed[1]):
		d.failed(id, "allow "+strings.Join(denied, ", ")+" on "+tunnels, "by IAM's simulation the caller may not call %s", clean.Line(strings.Join(denied, ", "), 200))
	case len(denied) > 0:
		d.warn(id, "allow "+needed[2]+" on "+tunnels+", so that culvert closes what it opened", "by IAM's simulation the caller may not call %s", needed[2])
	case len(depends) > 0:
		slices.Sort(keys)
		d.skipped(id, "", "unknown: in IAM's simulation, %s depends on %s", clean.Line(strings.Join(depends, ", "), 200), clean.Line(strings.Join(slices.Compact(keys), ", "), 200))
	default:
		d.ok(id, "by IAM's simulation the caller may open, rotate and close tunnels")
	}
}

// policySource returns the ARN of the user or role whose policies hold for a caller, and an assumed role's name.
func policySource(caller arn.ARN) (source, role string, ok bool) {
	kind, rest, _ := strings.Cut(caller.Resource, "/")
	switch {
	case caller.Service == "iam" && kind == "user":
		return caller.String(), "", true
	case caller.Service == "sts" && kind == "assumed-role":
		role, _, _ = strings.Cut(rest, "/")
		caller.Service, caller.Resource = "iam", "role/"+role
		return caller.String(), role, role != ""
	}
	return "", "", false
}

// simulation is IAM's judgement of one action.
type simulation struct {
	Action         string   `xml:"EvalActionName"`
	Decision       string   `xml:"EvalDecision"` // allowed, explicitDeny or implicitDeny
	MissingContext []string `xml:"MissingContextValues>member"`
}

var errNoSimulation = errors.New("IAM's answer has no results")
