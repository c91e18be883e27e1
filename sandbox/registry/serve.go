package registry

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody bounds a request: a policy document has 2,048 characters at most, a signing request not many more.
const maxBody = 64 << 10

// Mine reports whether a request is for this API, and not for the tunnels', which shares its port: AWS IoT's is recognized by
// its paths, STS by its form.
func Mine(req *http.Request) bool {
	if req.URL.Path == "/" {
		return strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	switch first {
	case "endpoint", "indices", "things", "thing-groups", "policies", "target-policies", "attached-policies", "effective-policies", "certificates":
		return true
	}
	return false
}

// ServeHTTP answers one call.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/" {
		r.query(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	out, err := r.call(req)
	if err == nil {
		r.cfg.Logger.Info("registry call", "target", req.Method+" "+req.URL.Path, "status", http.StatusOK)
		_ = json.NewEncoder(w).Encode(out)
		return
	}
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = &apiError{http.StatusInternalServerError, "InternalFailureException", err.Error()}
	}
	r.cfg.Logger.Info("registry call", "target", req.Method+" "+req.URL.Path, "status", e.status, "error", e)
	w.Header().Set("X-Amzn-Errortype", e.kind)
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": e.message})
}

// signed reports whether a request is signed for a service, as far as its form goes.
func (r *Registry) signed(req *http.Request, service string, others ...string) error {
	header := req.Header.Get("Authorization")
	scoped := func(service string) bool { return strings.Contains(header, "/"+service+"/aws4_request") }
	switch {
	case header == "" && r.cfg.AllowUnsigned:
		return nil
	case header == "":
		return &apiError{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	case !strings.HasPrefix(header, "AWS4-HMAC-SHA256 ") || !scoped(service) && !slices.ContainsFunc(others, scoped):
		return &apiError{http.StatusForbidden, "InvalidSignatureException", "Credential should be scoped to correct service: '" + service + "'."}
	}
	return nil
}

// operation is a call that this API knows.
type operation struct {
	name   string
	method string
	path   []string // segments; "" is any one, and an argument
	run    func(r *Registry, args []string, in input) (any, error)
}

// input is the rest of a request.
type input struct {
	query  url.Values
	header http.Header
	body   struct {
		PolicyDocument            string
		Target, Principal         string
		CertificateSigningRequest string
		AttributePayload          struct{ Attributes map[string]string }
		QueryString               string
		MaxResults                int
		NextToken                 string
	}
}

// operations are named and laid out as in the API reference.
var operations = []operation{
	{"DescribeEndpoint", http.MethodGet, []string{"endpoint"}, func(r *Registry, _ []string, in input) (any, error) {
		if kind := in.query.Get("endpointType"); kind != "iot:Data-ATS" && kind != "iot:Data" && kind != "" {
			return nil, invalid("no endpoint of type %q here", kind)
		}
		return map[string]string{"endpointAddress": r.cfg.Endpoint()}, nil
	}},
	{"ListThings", http.MethodGet, []string{"things"}, func(r *Registry, _ []string, in input) (any, error) { return r.listThings(in.query) }},
	{"ListThingsInThingGroup", http.MethodGet, []string{"thing-groups", "", "things"}, func(r *Registry, args []string, in input) (any, error) {
		return r.listGroup(args[0], in.query)
	}},
	{"ListThingGroupsForThing", http.MethodGet, []string{"things", "", "thing-groups"}, func(r *Registry, args []string, _ input) (any, error) {
		return r.groupsOf(args[0])
	}},
	{"SearchIndex", http.MethodPost, []string{"indices", "search"}, func(r *Registry, _ []string, in input) (any, error) {
		return r.searchIndex(in.body.QueryString, in.body.NextToken, in.body.MaxResults)
	}},
	{"CreateThing", http.MethodPost, []string{"things", ""}, func(r *Registry, args []string, in input) (any, error) {
		return r.createThing(args[0], in.body.AttributePayload.Attributes)
	}},
	{"DescribeThing", http.MethodGet, []string{"things", ""}, func(r *Registry, args []string, _ input) (any, error) { return r.describeThing(args[0]) }},
	{"ListThingPrincipals", http.MethodGet, []string{"things", "", "principals"}, func(r *Registry, args []string, _ input) (any, error) { return r.listPrincipals(args[0]) }},
	{"AttachThingPrincipal", http.MethodPut, []string{"things", "", "principals"}, func(r *Registry, args []string, in input) (any, error) {
		return r.attachPrincipal(args[0], in.header.Get("X-Amzn-Principal"))
	}},
	{"CreatePolicy", http.MethodPost, []string{"policies", ""}, func(r *Registry, args []string, in input) (any, error) {
		return r.createPolicy(args[0], in.body.PolicyDocument)
	}},
	{"GetPolicy", http.MethodGet, []string{"policies", ""}, func(r *Registry, args []string, _ input) (any, error) { return r.getPolicy(args[0]) }},
	{"CreatePolicyVersion", http.MethodPost, []string{"policies", "", "version"}, func(r *Registry, args []string, in input) (any, error) {
		return r.createPolicyVersion(args[0], in.body.PolicyDocument, in.query.Get("setAsDefault") == "true")
	}},
	{"ListPolicyVersions", http.MethodGet, []string{"policies", "", "version"}, func(r *Registry, args []string, _ input) (any, error) {
		return r.listPolicyVersions(args[0])
	}},
	{"DeletePolicyVersion", http.MethodDelete, []string{"policies", "", "version", ""}, func(r *Registry, args []string, _ input) (any, error) {
		return r.deletePolicyVersion(args[0], args[1])
	}},
	{"AttachPolicy", http.MethodPut, []string{"target-policies", ""}, func(r *Registry, args []string, in input) (any, error) {
		return r.attachPolicy(args[0], in.body.Target)
	}},
	{"ListAttachedPolicies", http.MethodPost, []string{"attached-policies", ""}, func(r *Registry, args []string, _ input) (any, error) {
		return r.attachedPolicies(args[0])
	}},
	{"GetEffectivePolicies", http.MethodPost, []string{"effective-policies"}, func(r *Registry, _ []string, in input) (any, error) {
		return r.effectivePolicies(in.body.Principal, in.query.Get("thingName"))
	}},
	{"CreateCertificateFromCsr", http.MethodPost, []string{"certificates"}, func(r *Registry, _ []string, in input) (any, error) {
		return r.createCertificate(in.body.CertificateSigningRequest, in.query.Get("setAsActive") == "true")
	}},
	{"DescribeCertificate", http.MethodGet, []string{"certificates", ""}, func(r *Registry, args []string, _ input) (any, error) {
		return r.describeCertificate(args[0])
	}},
	{"UpdateCertificate", http.MethodPut, []string{"certificates", ""}, func(r *Registry, args []string, in input) (any, error) {
		return r.updateCertificate(args[0], in.query.Get("newStatus"))
	}},
}

func (r *Registry) call(req *http.Request) (any, error) {
	if err := r.signed(req, "iot", "execute-api"); err != nil { // the AWS CLI signs for the latter
		return nil, err
	}
	segments := strings.Split(strings.TrimPrefix(req.URL.EscapedPath(), "/"), "/")
	in := input{query: req.URL.Query(), header: req.Header}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return nil, invalid("the request could not be read")
	}
	if len(body) > 0 && json.Unmarshal(body, &in.body) != nil {
		return nil, invalid("the request is no JSON object")
	}
	for _, o := range operations {
		args, ok := o.match(req.Method, segments)
		if !ok {
			continue
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if waiting := r.faults[o.name]; len(waiting) > 0 {
			r.faults[o.name] = waiting[1:]
			return nil, &apiError{waiting[0].Status, waiting[0].Type, waiting[0].Message}
		}
		return o.run(r, args, in)
	}
	return nil, &apiError{http.StatusNotFound, "UnknownOperationException", "The sandbox knows no " + req.Method + " of this path."}
}

func (o operation) match(method string, segments []string) (args []string, ok bool) {
	if method != o.method || len(segments) != len(o.path) {
		return nil, false
	}
	for i, want := range o.path {
		text, err := url.PathUnescape(segments[i])
		switch {
		case err != nil || want != "" && text != want:
			return nil, false
		case want == "":
			args = append(args, text)
		}
	}
	return args, true
}
