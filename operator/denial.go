package operator

import (
	"errors"
	"strings"

	"github.com/aws/smithy-go"
)

// Denial is the kind of policy that kept AWS from allowing a call. AWS names it in the refusal's text ("Troubleshoot access
// denied error messages", IAM user guide); not every service does.
type Denial struct {
	Policy   string // such as "VPC endpoint policy"
	Explicit bool   // a statement of it denies the call; otherwise none allows it
}

// The kinds of policies, in AWS's words, and whose they are.
var policyKinds = []struct{ name, owner string }{
	{"VPC endpoint policy", "it belongs to the VPC endpoint through which this machine reaches AWS"},
	{"service control policy", "the administrators of the AWS organization can change it"},
	{"resource control policy", "the administrators of the AWS organization can change it"},
	{"permissions boundary", "it is set at the caller's IAM user or role"},
	{"session policy", "it was given when the role was assumed"},
	{"identity-based policy", "it is attached to the caller's IAM user, its groups or its role"},
}

// DenialOf reads the kind of policy from a refusal of AWS. It reports false if the text names none.
func DenialOf(err error) (Denial, bool) {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return Denial{}, false
	}
	text := e.ErrorMessage()
	for _, kind := range policyKinds {
		switch {
		case strings.Contains(text, "because no "+kind.name+" allows"):
			return Denial{Policy: kind.name}, true
		case strings.Contains(text, "with an explicit deny in a "+kind.name),
			strings.Contains(text, "with an explicit deny in an "+kind.name):
			return Denial{Policy: kind.name, Explicit: true}, true
		}
	}
	return Denial{}, false
}

// String says what happened.
func (d Denial) String() string {
	if d.Explicit {
		return "a statement of the " + d.Policy + " denies it"
	}
	return "no " + d.Policy + " allows it"
}

// Remedy says what would allow an action.
func (d Denial) Remedy(action string) string {
	verb := "allow"
	if d.Explicit {
		verb = "not deny"
	}
	remedy := "the " + d.Policy + " must " + verb + " " + action
	for _, kind := range policyKinds {
		if kind.name == d.Policy {
			return remedy + "; " + kind.owner
		}
	}
	return remedy
}
