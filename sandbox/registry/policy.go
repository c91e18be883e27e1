package registry

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
)

// maxVersions is how many versions AWS IoT keeps of a policy (quotas).
const maxVersions = 5

// policy is a document in its versions, the oldest first.
type policy struct {
	versions []policyVersion
	standard string // id of the version that holds
	lastID   int
}

type policyVersion struct {
	id       string
	document []byte
}

var policyName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

func (r *Registry) createPolicy(name, document string) (any, error) {
	if !policyName.MatchString(name) {
		return nil, invalid("policy name %q", name)
	}
	if _, ok := r.document(name); ok {
		return nil, &apiError{http.StatusConflict, typeExists, "Policy cannot be created - name already exists (name=" + name + ")"}
	}
	p := &policy{}
	out, err := r.addVersion(p, name, document, true)
	if err == nil {
		r.policies[name] = p
	}
	return out, err
}

func (r *Registry) createPolicyVersion(name, document string, standard bool) (any, error) {
	p, err := r.policy(name)
	if err != nil {
		return nil, err
	}
	if len(p.versions) >= maxVersions {
		return nil, &apiError{http.StatusConflict, typeVersions, "The policy " + name + " already has the maximum number of versions (" + strconv.Itoa(maxVersions) + ")"}
	}
	return r.addVersion(p, name, document, standard)
}

func (r *Registry) addVersion(p *policy, name, document string, standard bool) (any, error) {
	if err := r.cfg.CheckPolicy([]byte(document)); err != nil {
		return nil, &apiError{http.StatusBadRequest, typeMalform, err.Error()}
	}
	p.lastID++
	id := strconv.Itoa(p.lastID)
	p.versions = append(p.versions, policyVersion{id, []byte(document)})
	if standard {
		p.standard = id
	}
	return map[string]any{
		"policyName": name, "policyArn": r.arn("policy/" + name), "policyDocument": document, "policyVersionId": id, "isDefaultVersion": standard,
	}, nil
}

// policy returns one that was made here.
func (r *Registry) policy(name string) (*policy, error) {
	if p, ok := r.policies[name]; ok {
		return p, nil
	}
	return nil, notFound("Policy not found (name=%s)", name)
}

func (r *Registry) listPolicyVersions(name string) (any, error) {
	p, err := r.policy(name)
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, v := range p.versions {
		list = append(list, map[string]any{"versionId": v.id, "isDefaultVersion": v.id == p.standard})
	}
	return map[string]any{"policyVersions": list}, nil
}

func (r *Registry) deletePolicyVersion(name, id string) (any, error) {
	p, err := r.policy(name)
	if err != nil {
		return nil, err
	}
	if id == p.standard {
		return nil, &apiError{http.StatusConflict, typeConflict, "Cannot delete the default version of a policy"}
	}
	before := len(p.versions)
	p.versions = slices.DeleteFunc(p.versions, func(v policyVersion) bool { return v.id == id })
	if len(p.versions) == before {
		return nil, notFound("Policy version not found (name=%s, version=%s)", name, id)
	}
	return struct{}{}, nil
}

func (r *Registry) getPolicy(name string) (any, error) {
	document, ok := r.document(name)
	if !ok {
		return nil, notFound("Policy not found (name=%s)", name)
	}
	id := "1"
	if p := r.policies[name]; p != nil {
		id = p.standard
	}
	return map[string]any{"policyName": name, "policyArn": r.arn("policy/" + name), "policyDocument": string(document), "defaultVersionId": id}, nil
}

// document returns the one of a policy that holds.
func (r *Registry) document(name string) (document []byte, ok bool) {
	if name == AdoptedPolicy && r.cfg.Policy != nil {
		return r.cfg.Policy(), true
	}
	p, ok := r.policies[name]
	if !ok {
		return nil, false
	}
	i := slices.IndexFunc(p.versions, func(v policyVersion) bool { return v.id == p.standard })
	return p.versions[i].document, true
}
