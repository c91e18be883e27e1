package doctor

import (
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// account is AWS IoT's registry, with policies that the sandbox's broker would not take.
type account struct {
	attributes   map[string]string
	certificates []certificate
	policies     map[string]string // documents by name
	ofGroups     []string          // names of policies
	groups       []string
	named        bool     // the client that is named like the thing is connected, and hears of tunnels
	denied       []string // first parts of paths that the caller may not ask, and the last one of a thing's
}

type certificate struct {
	id, status, pem string
	policies        []string
}

const certificateARN = "arn:aws:iot:eu-west-1:123456789012:cert/"

func (a *account) serve(r *http.Request) (*http.Response, error) {
	path := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	for i := range path {
		path[i], _ = url.PathUnescape(path[i])
	}
	var out any
	switch {
	case slices.Contains(a.denied, path[0]), len(path) == 3 && slices.Contains(a.denied, path[2]):
		resp, err := answered(http.StatusForbidden, "{}")
		resp.Header.Set("X-Amzn-Errortype", "AccessDeniedException")
		return resp, err
	case path[0] == "things" && len(path) == 3 && path[2] == "thing-groups":
		list := []map[string]string{}
		for _, name := range a.groups {
			list = append(list, map[string]string{"groupName": name, "groupArn": name})
		}
		out = map[string]any{"thingGroups": list}
	case path[0] == "endpoint":
		out = map[string]any{"endpointAddress": "iot.example"}
	case path[0] == "connections" && (!a.named || path[1] != "pi-1"):
		resp, err := answered(http.StatusNotFound, "{}")
		resp.Header.Set("X-Amzn-Errortype", "ResourceNotFoundException")
		return resp, err
	case path[0] == "connections" && len(path) == 2:
		out = map[string]any{"connected": true, "clientId": path[1]}
	case path[0] == "connections":
		out = map[string]any{"subscriptions": []map[string]any{{"topicFilter": "$aws/things/pi-1/tunnels/notify", "qos": 1}}}
	case path[0] == "effective-policies":
		var in struct{ Principal string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		list := []map[string]string{}
		for _, name := range slices.Concat(a.certificate(in.Principal).policies, a.ofGroups) {
			list = append(list, map[string]string{"policyName": name, "policyDocument": a.policies[name]})
		}
		out = map[string]any{"effectivePolicies": list}
	case path[0] == "things" && len(path) == 2:
		out = map[string]any{"thingName": path[1], "attributes": a.attributes, "thingTypeName": "pi"}
	case path[0] == "things" && path[2] == "principals":
		list := []string{}
		for _, c := range a.certificates {
			list = append(list, certificateARN+c.id)
		}
		out = map[string]any{"principals": list}
	case path[0] == "certificates" && a.certificate(path[1]).status == "":
		out = map[string]any{}
	case path[0] == "certificates":
		c := a.certificate(path[1])
		out = map[string]any{"certificateDescription": map[string]any{"certificateId": c.id, "status": c.status, "certificatePem": c.pem}}
	case path[0] == "attached-policies":
		list := []map[string]string{}
		for _, name := range a.certificate(path[1]).policies {
			list = append(list, map[string]string{"policyName": name})
		}
		out = map[string]any{"policies": list}
	case path[0] == "policies":
		out = map[string]any{"policyName": path[1], "policyDocument": a.policies[path[1]]}
	default:
		return answered(http.StatusNotFound, "{}")
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return answered(http.StatusOK, string(body))
}

func (a *account) certificate(arn string) certificate {
	for _, c := range a.certificates {
		if c.id == strings.TrimPrefix(arn, certificateARN) {
			return c
		}
	}
	return certificate{}
}

// statements is a policy document of these.
func statements(list ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(list, ",") + `]}`
}

func allows(action, resource string) string {
	return `{"Effect":"Allow","Action":"` + action + `","Resource":"arn:aws:iot:eu-west-1:123456789012:` + resource + `"}`
}

const everything = `{"Effect":"Allow","Action":"iot:*","Resource":"*"}`

func TestWhatAPolicyDependsOnIsResolvedOrTold(t *testing.T) {
	const (
		notify = "topicfilter/$aws/things/pi-1/tunnels/notify"
		topics = "topic/*"
	)
	rest := []string{allows("iot:Subscribe", notify), allows("iot:Receive", topics), allows("iot:Publish", topics), allows("iot:RetainPublish", topics)}
	for name, tt := range map[string]struct {
		document string
		status   Status
		words    string
	}{
		"the certificate's name": {statements(append(rest, allows("iot:Connect", "client/${iot:Certificate.Subject.CommonName}-tunnel"))...), OK, "allow tunnels"},
		"an attribute":           {statements(append(rest, allows("iot:Connect", "client/${iot:Connection.Thing.Attributes[box]}"))...), OK, "allow tunnels"},
		"the type":               {statements(append(rest, allows("iot:Connect", "client/${iot:Connection.Thing.ThingTypeName}-1-tunnel"))...), OK, "allow tunnels"},
		"the address": {
			statements(append(rest, allows("iot:Connect", "client/${aws:SourceIp}-tunnel"))...), Skipped,
			"whether the certificate's policies allow iot:Connect cannot be judged from here: mine depends on ${aws:SourceIp} read it yourself: aws iot get-policy --policy-name mine",
		},
		"a denial": {statements(everything, `{"Effect":"Deny","Action":"iot:Subscribe","Resource":"*","Condition":{}}`), Skipped, "iot:Subscribe cannot be judged from here: mine depends on a condition"},
		"pings":    {statements(append(rest[:1:1], allows("iot:Connect", "*"), allows("iot:Receive", "topic/$aws/*"), allows("iot:Receive", "topic/${aws:SourceIp}"), allows("iot:*Publish", "*"))...), Skipped, "iot:Receive for pings cannot be judged"},
		"no JSON":  {`{"Statement":7}`, Skipped, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &account{
				attributes: map[string]string{"box": "pi-1-tunnel"}, policies: map[string]string{"mine": tt.document},
				certificates: []certificate{{"0123456789", "ACTIVE", certificateOf(t, pkix.Name{CommonName: "pi-1"}), []string{"mine"}}},
			}
			report := Run(t.Context(), asking(a.serve))
			if !told(report, "policy", tt.status, tt.words) {
				t.Errorf("%+v", report.Results)
			}
		})
	}
}

func TestPoliciesOfGroupsCount(t *testing.T) {
	whole, part := statements(everything), statements(allows("iot:Connect", "client/*"))
	for name, tt := range map[string]struct {
		own, ofGroups, groups, denied []string
		status                        Status
		words                         string
	}{
		"by a group alone":              {nil, []string{"whole"}, nil, nil, Warning, "only policies of the thing's groups allow tunnels"},
		"by a group, in part":           {[]string{"part"}, []string{"whole"}, nil, nil, Warning, "only policies of the thing's groups allow tunnels"},
		"by none":                       {[]string{"part"}, []string{"part"}, nil, nil, Failed, "do not allow iot:Subscribe"},
		"no policy at all":              {nil, nil, nil, nil, Failed, "has no policy"},
		"not seen":                      {nil, []string{"whole"}, []string{"canary"}, []string{"effective-policies"}, Skipped, "no policy of its own, and those of the thing's groups were not read allow iot:GetEffectivePolicies"},
		"not seen, in part":             {[]string{"part"}, nil, []string{"canary"}, []string{"effective-policies"}, Skipped, "do not allow iot:Subscribe, and those of the thing's groups were not read allow iot:GetEffectivePolicies"},
		"not seen, groups neither":      {nil, nil, nil, []string{"effective-policies", "thing-groups"}, Skipped, "were not read"},
		"not seen, and there are none":  {nil, nil, nil, []string{"effective-policies"}, Failed, "has no policy"},
		"not seen, and it is not asked": {[]string{"whole"}, nil, nil, []string{"effective-policies", "thing-groups"}, OK, "allow tunnels"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &account{
				policies: map[string]string{"whole": whole, "part": part}, ofGroups: tt.ofGroups, groups: tt.groups, denied: tt.denied,
				certificates: []certificate{{"0123456789", "ACTIVE", "", tt.own}},
			}
			if report := Run(t.Context(), asking(a.serve)); !told(report, "policy", tt.status, tt.words) {
				t.Errorf("%+v", report.Results)
			}
		})
	}
}

func TestThePolicyIsJudgedForTheClientThatIsThere(t *testing.T) {
	document := statements(allows("iot:Connect", "client/pi-1"), allows("iot:Subscribe", "*"), allows("iot:Receive", "*"), allows("iot:*Publish", "*"))
	for name, tt := range map[string]struct {
		named         bool
		own, ofGroups []string
		status        Status
		words         string
	}{
		"the one that is named like the thing":          {true, []string{"mine"}, nil, OK, "allow tunnels"},
		"the same, by a group, whose policy counts for": {true, nil, []string{"mine"}, OK, "allow tunnels"},
		"the usual one": {false, []string{"mine"}, nil, Failed, "allow iot:Connect on client/pi-1-tunnel"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &account{
				named: tt.named, ofGroups: tt.ofGroups, policies: map[string]string{"mine": document},
				certificates: []certificate{{"0123456789", "ACTIVE", "", tt.own}},
			}
			report := Run(t.Context(), asking(a.serve))
			if !told(report, "policy", tt.status, tt.words) {
				t.Errorf("%+v", report.Results)
			}
			if tt.named && !told(report, "connection", Warning, "mqtt.client_id") {
				t.Errorf("%+v", report.Results)
			}
		})
	}
}

func TestEachCertificateIsJudged(t *testing.T) {
	active := func(id string, policies ...string) certificate { return certificate{id, "ACTIVE", "", policies} }
	inactive := func(id string) certificate { return certificate{id, "INACTIVE", "", nil} }
	type want struct {
		id     string
		status Status
		words  string
	}
	const mayBeAnother = "the device uses one of its active certificates"
	for name, tt := range map[string]struct {
		certificates []certificate
		want         []want
	}{
		"both will do": {[]certificate{active("first-one", "whole"), active("second-one", "whole")}, []want{
			{"policy", OK, "first-on…: the certificate's policies allow"}, {"policy", OK, "second-o…: the certificate's policies allow"},
		}},
		"the first one alone": {[]certificate{active("first-one", "whole"), active("second-one", "part")}, []want{
			{"policy", OK, "first-on…"}, {"policy", Warning, "second-o…: the certificate's policies do not allow iot:Subscribe; " + mayBeAnother},
		}},
		"the last one alone": {[]certificate{active("first-one"), active("second-one", "whole")}, []want{
			{"policy", Warning, "first-on…: the certificate has no policy; " + mayBeAnother}, {"policy", OK, "second-o…"},
		}},
		"none of both": {[]certificate{active("first-one", "part"), active("second-one", "part")}, []want{
			{"policy", Failed, "first-on…: the certificate's policies do not"}, {"policy", Failed, "second-o…: the certificate's policies do not"},
		}},
		"one is inactive": {[]certificate{inactive("first-one"), active("second-one", "whole")}, []want{
			{"certificate", Warning, "first-on… is INACTIVE"}, {"policy", OK, "the certificate's policies allow"},
		}},
		"one is not described": {[]certificate{inactive("first-one"), {"second-one", "", "", nil}}, []want{
			{"certificate", Warning, "first-on… is INACTIVE"}, {"certificate", Failed, "has no certificate"},
		}},
		"both are inactive": {[]certificate{inactive("first-one"), inactive("second-one")}, []want{
			{"certificate", Failed, "first-on… is INACTIVE"}, {"certificate", Failed, "second-o… is INACTIVE"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &account{
				certificates: tt.certificates,
				policies:     map[string]string{"whole": statements(everything), "part": statements(allows("iot:Connect", "client/*"))},
			}
			report := Run(t.Context(), asking(a.serve))
			for _, w := range tt.want {
				if !told(report, w.id, w.status, w.words) {
					t.Errorf("no %s, %s, %q in %+v", w.id, w.status, w.words, report.Results)
				}
			}
		})
	}
}

// told reports whether a report has a line with words in its text or remedy.
func told(r Report, id string, status Status, words string) bool {
	for _, result := range r.Results {
		if result.ID == id && result.Status == status && strings.Contains(result.Text+" "+result.Remedy, words) {
			return true
		}
	}
	return false
}
