package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/sandbox/registry"
)

// policies are calls that setup-thing does not make for itself.
func (a account) policies(t *testing.T) *iot.Client {
	t.Helper()
	cfg, err := operator.LoadConfig(t.Context(), operator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return iot.NewFromConfig(cfg)
}

// earlierPolicy returns a policy with its first statements alone.
func earlierPolicy(t *testing.T, document string, statements int) *string {
	t.Helper()
	var policy struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal([]byte(document), &policy); err != nil {
		t.Fatal(err)
	}
	policy.Statement = policy.Statement[:statements]
	earlier, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	return aws.String(string(earlier))
}

// What an earlier version has set up is brought up to date: a new default version of the policy, with or without the bundle.
func TestSetupThingUpdatesItsPolicy(t *testing.T) {
	const bundle, name = "culvert-my-pi.tar", "culvert-my-pi"
	for title, tt := range map[string]struct {
		statements, versions int // of the policy
		elsewhere            bool
		says                 []string
	}{
		"the first policy":        {3, 2, false, []string{`policy culvert-my-pi updated: version 3 is its default now, instead of 2`, `sudo culvertd init`}},
		"the policy before pongs": {4, 2, false, []string{`version 3 is its default now, instead of 2`}},
		"the bundle is elsewhere": {4, 2, true, []string{`version 3 is its default now, instead of 2`, `my-pi keeps its certificate and its configuration\n$`}},
		"there are five versions": {4, 5, true, []string{`version 1 of policy culvert-my-pi removed`, `version 6 is its default now, instead of 5`}},
	} {
		t.Run(title, func(t *testing.T) {
			a := newAccount(t)
			setup := func(args ...string) (out, errs string) {
				t.Helper()
				out, errs, code := a.culvert(t, append([]string{"setup-thing", "my-pi"}, args...)...)
				if code != 0 {
					t.Fatalf("exit code %d: %s", code, errs)
				}
				return out, errs
			}
			setup()
			api := a.policies(t)
			present, err := api.GetPolicy(t.Context(), &iot.GetPolicyInput{PolicyName: aws.String(name)})
			if err != nil {
				t.Fatal(err)
			}
			earlier := earlierPolicy(t, *present.PolicyDocument, tt.statements)
			for range tt.versions - 1 {
				if _, err := api.CreatePolicyVersion(t.Context(), &iot.CreatePolicyVersionInput{
					PolicyName: aws.String(name), PolicyDocument: earlier, SetAsDefault: true,
				}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.elsewhere {
				if err := os.Remove(bundle); err != nil {
					t.Fatal(err)
				}
			}
			out, _ := setup("--dry-run")
			wants(t, "the plan", out, `policy +culvert-my-pi +is there, as an earlier culvert wrote it; to be updated`)
			if got, _ := api.GetPolicy(t.Context(), &iot.GetPolicyInput{PolicyName: aws.String(name)}); *got.PolicyDocument != *earlier {
				t.Error("a dry run changed the policy")
			}
			a.Registry.Fail("CreatePolicyVersion", registry.Fault{Status: 403, Type: "UnauthorizedException", Message: "not authorized"})
			if _, errs, code := a.culvert(t, "setup-thing", "my-pi"); code != 1 || !strings.Contains(errs, "iot:CreatePolicyVersion") {
				t.Errorf("without the permission: exit code %d, %s", code, errs)
			}
			_, errs := setup()
			wants(t, "the steps", errs, tt.says...)
			if got, _ := api.GetPolicy(t.Context(), &iot.GetPolicyInput{PolicyName: aws.String(name)}); *got.PolicyDocument != *present.PolicyDocument {
				t.Errorf("the policy is %s", *got.PolicyDocument)
			}
			if _, err := os.Stat(bundle); tt.elsewhere != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the bundle: %v", err)
			}
		})
	}
}
