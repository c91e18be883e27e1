package doctor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// policy is what AWS IoT policy documents allow, as far as they can be judged from here.
type policy struct{ statements []policyStatement }

type policyStatement struct {
	policy             string // its name
	deny               bool
	actions, resources []string
	open               string // what of it cannot be judged from here; "" for nothing
}

// decision is what policies say of an action on a resource.
type decision int

const (
	refused   decision = iota
	undecided          // it depends on what is not known here
	allowed
)

// judgement is a decision and, if it is undecided, what it depends on and in which policy.
type judgement struct {
	decision
	why, policy string
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

// add reads the document of the policy with this name.
func (p *policy) add(name, document string) error {
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
		add := policyStatement{policy: name, deny: s.Effect == "Deny", actions: s.Action, resources: s.Resource}
		if len(s.Condition) > 0 {
			add.open = "a condition"
		}
		if len(s.NotAction) > 0 {
			add.open, add.actions = "NotAction", []string{"*"}
		}
		if len(s.NotResource) > 0 {
			add.open, add.resources = "NotResource", []string{"*"}
		}
		p.statements = append(p.statements, add)
	}
	return nil
}

// judge decides about an action on a resource (the part of its ARN after the account): some statement must allow it, and
// none deny it. A statement that cannot be judged counts where it would make a difference.
func (p *policy) judge(action, resource string, who subject) judgement {
	var allow, deny judgement
	for _, s := range p.statements {
		effect := &allow
		if s.deny {
			effect = &deny
		}
		if found := s.judge(action, resource, who); found.decision > effect.decision {
			*effect = found
		}
	}
	switch {
	case deny.decision == allowed || allow.decision == refused:
		return judgement{}
	case deny.decision == undecided:
		return deny
	}
	return allow
}

// judge decides whether a statement is about an action on a resource: allowed means that it is.
func (s policyStatement) judge(action, resource string, who subject) (best judgement) {
	action = strings.ToLower(action)
	if !slices.ContainsFunc(s.actions, func(a string) bool { return glob(pattern(nil).text(strings.ToLower(a)), action) }) {
		return judgement{}
	}
	for _, r := range s.resources {
		match, unknown := who.resolve(r)
		if !glob(match, resource) {
			continue
		}
		found := judgement{decision: allowed}
		if unknown == "" {
			unknown = s.open
		}
		if unknown != "" {
			found = judgement{undecided, unknown, s.policy}
		}
		if found.decision > best.decision {
			best = found
		}
	}
	return best
}

// pattern is what a text of a policy matches: bytes and wild cards.
type pattern []rune

const (
	anyText rune = -1
	anyByte rune = -2
)

// text appends text of a document, whose wild cards are meant.
func (p pattern) text(s string) pattern {
	for i := range len(s) {
		switch s[i] {
		case '*':
			p = append(p, anyText)
		case '?':
			p = append(p, anyByte)
		default:
			p = append(p, rune(s[i]))
		}
	}
	return p
}

// value appends the value of a variable, which has no wild cards.
func (p pattern) value(s string) pattern {
	for i := range len(s) {
		p = append(p, rune(s[i]))
	}
	return p
}

// glob matches as policies do: * is any text, ? is one byte.
func glob(p pattern, s string) bool {
	star, mark := -1, 0 // where to go on when the text after the last * does not fit
	at, i := 0, 0
	for i < len(s) {
		switch {
		case at < len(p) && p[at] == anyText:
			star, mark = at, i
			at++
			continue
		case at < len(p) && (p[at] == anyByte || p[at] == rune(s[i])):
			at++
			i++
			continue
		case star < 0:
			return false
		}
		mark++
		at, i = star+1, mark
	}
	return !slices.ContainsFunc(p[at:], func(r rune) bool { return r != anyText })
}
