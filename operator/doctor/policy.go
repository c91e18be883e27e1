package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// policy is what AWS IoT policy documents allow, as far as they can be judged from here.
type policy struct{ statements []policyStatement }

type policyStatement struct {
	deny               bool
	actions, resources []string
}

// texts is a JSON string or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// add reads a document. One with conditions, NotAction or NotResource cannot be judged.
func (p *policy) add(document string) error {
	var doc struct {
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return fmt.Errorf("the policy cannot be read: %w", err)
	}
	type statement struct {
		Effect                 string
		Action, Resource       texts
		NotAction, NotResource texts
		Condition              json.RawMessage
	}
	var list []statement
	if json.Unmarshal(doc.Statement, &list) != nil {
		var one statement
		if err := json.Unmarshal(doc.Statement, &one); err != nil {
			return fmt.Errorf("the policy cannot be read: %w", err)
		}
		list = []statement{one}
	}
	for _, s := range list {
		if len(s.Condition) > 0 || len(s.NotAction) > 0 || len(s.NotResource) > 0 {
			return errors.New("it has conditions, which cannot be judged from here")
		}
		p.statements = append(p.statements, policyStatement{s.Effect == "Deny", s.Action, s.Resource})
	}
	return nil
}

// subject is whom a policy is judged for.
type subject struct{ thing, clientID string }

// allows reports whether some statement allows an action on a resource (the part of its ARN after the account), and none
// denies it.
func (p *policy) allows(action, resource string, who subject) bool {
	allowed := false
	for _, s := range p.statements {
		if !matchAny(s.actions, strings.ToLower(action), strings.ToLower) {
			continue
		}
		if !matchAny(s.resources, resource, who.resolve) {
			continue
		}
		if s.deny {
			return false
		}
		allowed = true
	}
	return allowed
}

// resolve replaces the policy variables of a resource and cuts its ARN down to what follows the account. The thing's name has a
// value only where the client id is the thing's name, or where the certificate is attached exclusively to the thing;
// the operator cannot see the latter, so it is assumed.
func (s subject) resolve(resource string) string {
	if parts := strings.SplitN(resource, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		resource = parts[5]
	}
	return strings.NewReplacer("${iot:Connection.Thing.ThingName}", s.thing, "${iot:ClientId}", s.clientID).Replace(resource)
}

func matchAny(patterns []string, text string, prepare func(string) string) bool {
	for _, p := range patterns {
		if glob(prepare(p), text) {
			return true
		}
	}
	return false
}

// glob matches as policies do: * is any text, ? is one byte.
func glob(pattern, s string) bool {
	head, rest, found := strings.Cut(pattern, "*")
	if len(s) < len(head) || !same(head, s[:len(head)]) {
		return false
	}
	s = s[len(head):]
	if !found {
		return s == ""
	}
	for i := 0; i <= len(s); i++ {
		if glob(rest, s[i:]) {
			return true
		}
	}
	return false
}

func same(pattern, s string) bool {
	for i := range len(pattern) {
		if pattern[i] != '?' && pattern[i] != s[i] {
			return false
		}
	}
	return true
}
