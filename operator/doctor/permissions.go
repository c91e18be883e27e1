package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator"
)

// needed are the caller's actions that doctor must not try, with what fails without them. Those that it calls itself
// show by their own answers.
var needed = []string{"iot:OpenTunnel", "iot:RotateTunnelAccessToken", "iot:CloseTunnel"}

// permissions asks IAM's policy simulator whether the caller may open, rotate and close tunnels. It judges the policies of
// the user or role, its permissions boundary, and the organization's service control policies. Policies of sessions and of
// VPC endpoints it does not know.
func (d *doctor) permissions(ctx context.Context) bool {
	const id = "permissions"
	caller, err := arn.Parse(d.callerARN)
	if err != nil {
		if d.cfg.STS.Region != "" {
			d.skipped(id, "", "unknown: AWS STS did not say who the caller is")
		}
		return false
	}
	source, assumed, ok := policySource(caller)
	if !ok {
		d.skipped(id, "", "unknown: IAM simulates the policies of users and roles only")
		return false
	}
	client := newIAM(d.cfg.STS, caller.Partition)
	tunnels := arn.ARN{Partition: caller.Partition, Service: "iot", Region: d.cfg.AWS.Region, AccountID: caller.AccountID, Resource: "tunnel/*"}.String()
	results, err := client.simulate(ctx, source, needed, tunnels, nil)
	if code(err) == "NoSuchEntity" && assumed != "" {
		// An assumed role's ARN lacks the role's path, which those of IAM Identity Center have.
		if source, err = client.roleARN(ctx, assumed); err == nil {
			results, err = client.simulate(ctx, source, needed, tunnels, nil)
		}
	}
	// Policies with conditions are judged once more, with the values that culvert's own calls have.
	if values := d.contextValues(ctx, missingKeys(results)); err == nil && len(values) > 0 {
		results, err = client.simulate(ctx, source, needed, tunnels, values)
	}
	if err != nil {
		d.unknown(ctx, id, "iam:SimulatePrincipalPolicy (and iam:GetRole for a role with a path)", err)
		return false
	}
	d.judge(id, tunnels, results)
	return true
}

// judge turns IAM's judgements into one result.
func (d *doctor) judge(id, tunnels string, results []simulation) {
	var denied, depends []string
	by := ""
	for _, r := range results {
		switch {
		case r.Decision == "allowed":
		case r.denier() == "" && len(r.missing()) > 0 && r.Decision == "implicitDeny":
			depends = append(depends, r.Action)
		default:
			denied = append(denied, r.Action)
			if by == "" {
				by = r.denier()
			}
		}
	}
	list := clean.Line(strings.Join(denied, ", "), 200)
	remedy, cause := "allow "+list+" on "+tunnels, ""
	if by != "" {
		remedy, cause = operator.Denial{Policy: by}.Remedy(list), ": its "+by+" forbids it"
	}
	switch {
	case slices.Contains(denied, needed[0]), slices.Contains(denied, needed[1]):
		d.failed(id, remedy, "by IAM's simulation the caller may not call %s%s", list, cause)
	case len(denied) > 0:
		d.warn(id, remedy+", so that culvert closes what it opened", "by IAM's simulation the caller may not call %s%s", list, cause)
	case len(depends) > 0:
		keys := missingKeys(results)
		d.skipped(id, clean.Line(strings.Join(explainKeys(keys), "; "), 400), "unknown: in IAM's simulation, %s depends on %s",
			clean.Line(strings.Join(depends, ", "), 200), clean.Line(strings.Join(keys, ", "), 200))
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
	Action   string `xml:"EvalActionName"`
	Decision string `xml:"EvalDecision"` // allowed, explicitDeny or implicitDeny
	// The keys are in one place or the other: the API reference has them at the resource where resources are named.
	MissingContext   []string `xml:"MissingContextValues>member"`
	MissingResources []string `xml:"ResourceSpecificResults>member>MissingContextValues>member"`
	// "" where no such policy takes part.
	ByOrganization string `xml:"OrganizationsDecisionDetail>AllowedByOrganizations"`
	ByBoundary     string `xml:"PermissionsBoundaryDecisionDetail>AllowedByPermissionsBoundary"`
	BoundaryThere  string `xml:"ResourceSpecificResults>member>PermissionsBoundaryDecisionDetail>AllowedByPermissionsBoundary"`
}

func (s simulation) missing() []string {
	return slices.Concat(s.MissingContext, s.MissingResources)
}

// denier is the kind of policy that denies the action; "" if that is the policies of the user or role, or not known.
func (s simulation) denier() string {
	switch {
	case s.Decision == "allowed":
		return ""
	case s.ByOrganization == "false":
		return "service control policy"
	case s.ByBoundary == "false", s.BoundaryThere == "false":
		return "permissions boundary"
	}
	return ""
}

var errNoSimulation = errors.New("IAM's answer has no results")
