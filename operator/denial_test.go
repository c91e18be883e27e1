package operator

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

func TestARefusalNamesThePolicyBehindIt(t *testing.T) {
	const start = "User: arn:aws:sts::123456789012:assumed-role/ops/ann is not authorized to perform: iot:OpenTunnel on resource: arn:aws:iot:eu-west-1:123456789012:tunnel/* "
	const general = "the IAM policy must allow iot:OpenTunnel on this tunnel or thing"
	for _, tt := range []struct{ text, what, hint string }{
		{
			start + "because no VPC endpoint policy allows the iot:OpenTunnel action", "no VPC endpoint policy allows it",
			"the VPC endpoint policy must allow iot:OpenTunnel; it belongs to the VPC endpoint through which this machine reaches AWS",
		},
		{
			start + "with an explicit deny in a VPC endpoint policy", "a statement of the VPC endpoint policy denies it",
			"the VPC endpoint policy must not deny iot:OpenTunnel; it belongs to the VPC endpoint through which this machine reaches AWS",
		},
		{
			start + "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/service_control_policy/p-1",
			"a statement of the service control policy denies it",
			"the service control policy must not deny iot:OpenTunnel; the administrators of the AWS organization can change it",
		},
		{
			start + "with an explicit deny in an identity-based policy", "a statement of the identity-based policy denies it",
			"the identity-based policy must not deny iot:OpenTunnel; it is attached to the caller's IAM user, its groups or its role",
		},
		{
			start + "because no permissions boundary allows the iot:OpenTunnel action", "no permissions boundary allows it",
			"the permissions boundary must allow iot:OpenTunnel; it is set at the caller's IAM user or role",
		},
		{
			start + "because no session policy allows the iot:OpenTunnel action", "no session policy allows it",
			"the session policy must allow iot:OpenTunnel; it was given when the role was assumed",
		},
		{start, "", general},
		{"because no policy of mine allows it", "", general},
	} {
		err := fmt.Errorf("open: %w", &smithy.OperationError{
			ServiceID: iotsecuretunneling.ServiceID, OperationName: "OpenTunnel",
			Err: &smithy.GenericAPIError{Code: "AccessDeniedException", Message: tt.text},
		})
		denial, found := DenialOf(err)
		if found != (tt.what != "") || found && denial.String() != tt.what {
			t.Errorf("%q: %v, %v", tt.text, denial, found)
		}
		if got := hint.Of(Explain(err)); got != tt.hint {
			t.Errorf("%q: the hint is %q, want %q", tt.text, got, tt.hint)
		}
	}
	sts := &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &smithy.GenericAPIError{Code: "AccessDenied"}}
	if got, want := hint.Of(Explain(sts)), "the IAM policy must allow sts:AssumeRole"; got != want {
		t.Errorf("the hint is %q, want %q", got, want)
	}
	if _, found := DenialOf(errors.New("because no session policy allows")); found {
		t.Error("an error of this machine is a denial")
	}
}
