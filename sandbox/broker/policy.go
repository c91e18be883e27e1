package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/internal/endpoints"
)

// The actions of AWS IoT Core policies that a device's MQTT connection meets.
const (
	actionConnect   = "iot:Connect"
	actionPublish   = "iot:Publish"
	actionSubscribe = "iot:Subscribe"
	actionReceive   = "iot:Receive"
	actionRetain    = "iot:RetainPublish" // besides iot:Publish
)

// DefaultPolicy is the policy document that a device with a client id of its own needs for tunnels and no more (AWS IoT
// developer guide): it may connect as its thing or as its thing with -tunnel appended, subscribe to its notifications
// and receive them and an operator's pings, and answer these with a retained message.
func DefaultPolicy(region, account string) string {
	arn := "arn:" + endpoints.Partition(region) + ":iot:" + region + ":" + account + ":"
	const thing = "${iot:Connection.Thing.ThingName}"
	notify := "$aws/things/" + thing + "/tunnels/notify"
	return `{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "iot:Connect", "Resource": ["` + arn + `client/` + thing + `", "` + arn + `client/` + thing + `-tunnel"]},
  {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "` + arn + `topicfilter/` + notify + `"},
  {"Effect": "Allow", "Action": "iot:Receive", "Resource": ["` + arn + `topic/` + notify + `", "` + arn + `topic/culvert/` + thing + `/ping"]},
  {"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish"], "Resource": "` + arn + `topic/culvert/` + thing + `/pong"}
]}
`
}

// Policy is a parsed AWS IoT policy. The zero value has no statement.
type Policy struct{ statements []statement }

type statement struct {
	deny      bool
	actions   []string // lower case, with wild cards
	resources []string // ARN parts after the account, with wild cards and variables
}

// principal is who a policy is evaluated for.
type principal struct{ thing, clientID string }

// Join is a policy of several, of which each counts.
func Join(policies ...Policy) (all Policy) {
	for _, p := range policies {
		all.statements = append(all.statements, p.statements...)
	}
	return all
}

func (p Policy) empty() bool { return len(p.statements) == 0 }

// ParsePolicy reads an AWS IoT policy document. It knows Effect, Action, Resource, wild cards and the variables of the
// client id and the thing; what it does not know, conditions above all, is an error and not ignored. Region and account
// of a resource are not compared: the sandbox is whichever is meant.
func ParsePolicy(document []byte) (Policy, error) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement []struct {
			Sid, Effect      string
			Action, Resource texts
		}
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return Policy{}, fmt.Errorf("parse IoT policy: %w", err)
	}
	var p Policy
	for i, s := range doc.Statement {
		st := statement{deny: s.Effect == "Deny"}
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return Policy{}, fmt.Errorf("IoT policy, statement %d: Effect must be Allow or Deny, not %q", i+1, s.Effect)
		}
		for _, a := range s.Action {
			st.actions = append(st.actions, escaper.Replace(strings.ToLower(a)))
		}
		for _, r := range s.Resource {
			part, err := resourcePart(r)
			if err != nil {
				return Policy{}, fmt.Errorf("IoT policy, statement %d: %w", i+1, err)
			}
			st.resources = append(st.resources, part)
		}
		if len(st.actions) == 0 || len(st.resources) == 0 {
			return Policy{}, fmt.Errorf("IoT policy, statement %d: Action and Resource are required", i+1)
		}
		p.statements = append(p.statements, st)
	}
	if p.empty() {
		return Policy{}, errors.New("the IoT policy has no statement")
	}
	return p, nil
}

// texts is a JSON string or an array of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

var (
	resourceForm = regexp.MustCompile(`^arn:[a-z*-]+:iot:[a-z0-9*-]*:[0-9*]*:(.*)$`)
	variables    = regexp.MustCompile(`\$\{[^}]*\}`)
)

func resourcePart(r string) (string, error) {
	if r == "*" {
		return r, nil
	}
	m := resourceForm.FindStringSubmatch(r)
	if m == nil {
		return "", fmt.Errorf("resource %q is no ARN of AWS IoT", r)
	}
	kind, _, _ := strings.Cut(m[1], "/")
	switch kind {
	case "client", "topic", "topicfilter", "*":
	default:
		return "", fmt.Errorf("resource %q: want client/, topic/ or topicfilter/ after the account", r)
	}
	for _, v := range variables.FindAllString(m[1], -1) {
		if _, known := (principal{}).value(v); !known {
			return "", fmt.Errorf("resource %q: the sandbox does not know the variable %s", r, v)
		}
	}
	return escaper.Replace(m[1]), nil
}

// value resolves a policy variable.
func (w principal) value(variable string) (value string, known bool) {
	switch variable {
	case "${iot:Connection.Thing.ThingName}", "${iot:Certificate.Subject.CommonName}":
		return w.thing, true
	case "${iot:ClientId}":
		return w.clientID, true
	}
	return "", false
}

// allows applies the rule of all AWS policies: some statement allows, and none denies.
func (p Policy) allows(action, resource string, who principal) bool {
	allowed := false
	for _, s := range p.statements {
		if s.matches(action, resource, who) {
			if s.deny {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

func (s statement) matches(action, resource string, who principal) bool {
	named := func(pattern string) bool { return glob(pattern, strings.ToLower(action)) }
	meant := func(pattern string) bool {
		return glob(variables.ReplaceAllStringFunc(pattern, func(v string) string {
			value, _ := who.value(v)
			return literal.Replace(value)
		}), resource)
	}
	return slices.ContainsFunc(s.actions, named) && slices.ContainsFunc(s.resources, meant)
}

var (
	// A backslash makes what follows literal for glob. Policies do not know it; the values of variables are literal,
	// so that a client id of "*" is no wild card.
	escaper = strings.NewReplacer(`\`, `\\`)
	literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)
)

// glob matches as policies do: * is any text, slashes too, ? is one byte. MQTT's + and # are ordinary characters.
func glob(pattern, s string) bool {
	star, mark := -1, 0 // where to go on when the text after the last * does not fit
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
			continue
		case p < len(pattern) && pattern[p] == '?':
			p++
			i++
			continue
		case p+1 < len(pattern) && pattern[p] == '\\' && pattern[p+1] == s[i]:
			p += 2
			i++
			continue
		case p < len(pattern) && pattern[p] != '\\' && pattern[p] == s[i]:
			p++
			i++
			continue
		case star < 0:
			return false
		}
		mark++
		p, i = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}
