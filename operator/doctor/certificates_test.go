package doctor

import (
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// account is AWS IoT's registry, with policies that the sandbox's broker would not take.
type account struct {
	attributes   map[string]string
	certificates []certificate
	policies     map[string]string // documents by name
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
	case path[0] == "things" && len(path) == 2:
		out = map[string]any{"thingName": path[1], "attributes": a.attributes, "thingTypeName": "pi"}
	case path[0] == "things" && path[2] == "principals":
		list := []string{}
		for _, c := range a.certificates {
			list = append(list, certificateARN+c.id)
		}
		out = map[string]any{"principals": list}
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

// told reports whether a report has a line with words in its text or remedy.
func told(r Report, id string, status Status, words string) bool {
	for _, result := range r.Results {
		if result.ID == id && result.Status == status && strings.Contains(result.Text+" "+result.Remedy, words) {
			return true
		}
	}
	return false
}
