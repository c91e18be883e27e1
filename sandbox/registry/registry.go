package registry

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/sandbox/pki"
)

// Config is what a Registry is made of. CA and Endpoint are required.
type Config struct {
	CA              *pki.Authority
	Region, Account string
	Endpoint        func() string          // the data endpoint, host or host:port
	CheckPolicy     func(doc []byte) error // what is wrong with a policy document; nil: nothing ever
	Things          []string               // that are there from the beginning

	// Policy is the policy document of certificates that were made elsewhere, see Adopt. nil: they have none.
	Policy func() []byte

	// NoFleetIndex plays an account without fleet indexing: SearchIndex fails.
	NoFleetIndex bool
	// Connected reports whether an MQTT client is connected, for the index. Fleet indexing knows only the client
	// that is named like its thing. nil: none is.
	Connected func(clientID string) bool

	AllowUnsigned bool
	Logger        *slog.Logger // nil: silent
}

// Registry answers control calls. It is an http.Handler; its methods are safe for concurrent use.
type Registry struct {
	cfg Config

	mu           sync.Mutex
	things       map[string][]string // name: ARNs of its certificates
	attributes   map[string]map[string]string
	groups       map[string][]string // name: things
	ofGroups     map[string][]string // name of a group: its policies
	policies     map[string]*policy
	certificates map[string]*certificate
	faults       map[string][]Fault
	caller       Caller
}

type certificate struct {
	pem      string
	active   bool
	adopted  bool // made elsewhere: it names its thing itself, and the broker's policy applies to it
	policies []string
}

// Fault is an answer in place of the one that a call would have had.
type Fault struct {
	Status  int
	Type    string
	Message string
}

// New returns a registry.
func New(cfg Config) *Registry {
	if cfg.CheckPolicy == nil {
		cfg.CheckPolicy = func([]byte) error { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{
		cfg: cfg, things: map[string][]string{}, attributes: map[string]map[string]string{}, groups: map[string][]string{}, ofGroups: map[string][]string{}, policies: map[string]*policy{},
		certificates: map[string]*certificate{}, faults: map[string][]Fault{},
	}
	for _, name := range cfg.Things {
		r.things[name] = nil
	}
	return r
}

// Fail answers the next call of an operation with a fault; more than one wait for their turn.
func (r *Registry) Fail(operation string, f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[operation] = append(r.faults[operation], f)
}

// Has reports whether an operation has this name.
func Has(name string) bool {
	return slices.ContainsFunc(operations, func(o operation) bool { return o.name == name })
}

// ClearFaults forgets the pending faults.
func (r *Registry) ClearFaults() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.faults)
}

// AdoptedPolicy is the control API's name for the policy of the certificates that [Registry.Adopt] got.
const AdoptedPolicy = "sandbox"

// Adopt attaches an active certificate that was made elsewhere to a thing, so that the control API shows it with
// [Config.Policy]. [Registry.Thing] and [Registry.Policies] know nothing of it while it is active.
func (r *Registry) Adopt(thing string, cert []byte) error {
	block, _ := pem.Decode(cert)
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("the certificate of " + thing + " is not a certificate in PEM")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fingerprint(block.Bytes)
	c := &certificate{pem: string(cert), active: true, adopted: true}
	if r.cfg.Policy != nil {
		c.policies = []string{AdoptedPolicy}
	}
	r.certificates[id] = c
	r.things[thing] = append(r.things[thing], r.arn("cert/"+id))
	return nil
}

// Thing tells whose a certificate is that was made here; known is false for one that was not. An inactive one, and one
// that is attached to no thing, is an error, at which a broker drops its bearer.
func (r *Registry) Thing(cert *x509.Certificate) (thing string, known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fingerprint(cert.Raw)
	c, known := r.certificates[id]
	switch {
	case !known, c.adopted && c.active:
		return "", false, nil
	case !c.active:
		return "", true, errors.New("the certificate " + id + " is not active")
	}
	for name, principals := range r.things {
		if slices.Contains(principals, r.arn("cert/"+id)) {
			return name, true, nil
		}
	}
	return "", true, errors.New("the certificate " + id + " is attached to no thing")
}

// Policies returns the documents that are attached to a certificate that was made here.
func (r *Registry) Policies(cert *x509.Certificate) (documents [][]byte, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, known := r.certificates[fingerprint(cert.Raw)]
	if !known || c.adopted {
		return nil, false
	}
	for _, name := range c.policies {
		document, _ := r.document(name)
		documents = append(documents, document)
	}
	return documents, true
}

func (r *Registry) arn(resource string) string {
	return "arn:" + endpoints.Partition(r.cfg.Region) + ":iot:" + r.cfg.Region + ":" + r.cfg.Account + ":" + resource
}

// fingerprint is what AWS IoT calls a certificate's id.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Error types of the API model.
const (
	typeNotFound = "ResourceNotFoundException"
	typeExists   = "ResourceAlreadyExistsException"
	typeInvalid  = "InvalidRequestException"
	typeMalform  = "MalformedPolicyException"
	typeVersions = "VersionsLimitExceededException"
	typeConflict = "DeleteConflictException"
)

type apiError struct {
	status        int
	kind, message string
}

func (e *apiError) Error() string { return e.kind + ": " + e.message }

func notFound(format string, args ...any) error {
	return &apiError{http.StatusNotFound, typeNotFound, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, typeInvalid, fmt.Sprintf(format, args...)}
}

func (r *Registry) createThing(name string, attributes map[string]string) (any, error) {
	if !pki.ValidThing(name) {
		return nil, invalid("thing name %q", name)
	}
	if _, ok := r.things[name]; !ok {
		r.things[name] = nil
		r.attributes[name] = attributes
	}
	return r.describeThing(name) // again with the same attributes, it is the same answer (API reference, CreateThing)
}

func (r *Registry) describeThing(name string) (any, error) {
	if _, ok := r.things[name]; !ok {
		return nil, notFound("Thing %s not found", name)
	}
	return map[string]any{"thingName": name, "thingArn": r.arn("thing/" + name), "attributes": r.attributes[name], "version": 1}, nil
}

func (r *Registry) listPrincipals(thing string) (any, error) {
	principals, ok := r.things[thing]
	if !ok {
		return nil, notFound("Thing %s not found", thing)
	}
	return map[string]any{"principals": append([]string{}, principals...)}, nil
}

func (r *Registry) attachPrincipal(thing, principal string) (any, error) {
	principals, ok := r.things[thing]
	if !ok {
		return nil, notFound("Thing %s not found", thing)
	}
	if _, err := r.byARN(principal); err != nil {
		return nil, err
	}
	if !slices.Contains(principals, principal) {
		r.things[thing] = append(principals, principal)
	}
	return struct{}{}, nil
}

func (r *Registry) attachPolicy(name, target string) (any, error) {
	if _, ok := r.document(name); !ok {
		return nil, notFound("Policy not found (name=%s)", name)
	}
	if group, ok := strings.CutPrefix(target, r.arn("thinggroup/")); ok && r.groups[group] != nil {
		if !slices.Contains(r.ofGroups[group], name) {
			r.ofGroups[group] = append(r.ofGroups[group], name)
		}
		return struct{}{}, nil
	}
	c, err := r.byARN(target)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.policies, name) {
		c.policies = append(c.policies, name)
	}
	return struct{}{}, nil
}

func (r *Registry) attachedPolicies(target string) (any, error) {
	c, err := r.byARN(target)
	if err != nil {
		return nil, err
	}
	list := []map[string]string{}
	for _, name := range c.policies {
		list = append(list, map[string]string{"policyName": name, "policyArn": r.arn("policy/" + name)})
	}
	return map[string]any{"policies": list}, nil
}

// effectivePolicies is GetEffectivePolicies for a certificate and a thing.
func (r *Registry) effectivePolicies(principal, thing string) (any, error) {
	c, err := r.byARN(principal)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(c.policies)
	for group, members := range r.groups {
		if slices.Contains(members, thing) {
			names = append(names, r.ofGroups[group]...)
		}
	}
	slices.Sort(names)
	list := []map[string]string{}
	for _, name := range slices.Compact(names) {
		document, _ := r.document(name)
		list = append(list, map[string]string{"policyName": name, "policyArn": r.arn("policy/" + name), "policyDocument": string(document)})
	}
	return map[string]any{"effectivePolicies": list}, nil
}

func (r *Registry) byARN(arn string) (*certificate, error) {
	c, ok := r.certificates[strings.TrimPrefix(arn, r.arn("cert/"))]
	if !ok {
		return nil, notFound("Certificate not found (%s)", arn)
	}
	return c, nil
}

func (r *Registry) createCertificate(request string, active bool) (any, error) {
	block, _ := pem.Decode([]byte(request))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, invalid("The certificate signing request is not valid")
	}
	cert, err := r.cfg.CA.Sign(block.Bytes)
	if err != nil {
		return nil, invalid("The certificate signing request is not valid: %v", err)
	}
	decoded, _ := pem.Decode(cert)
	id := fingerprint(decoded.Bytes)
	r.certificates[id] = &certificate{pem: string(cert), active: active}
	return map[string]any{"certificateArn": r.arn("cert/" + id), "certificateId": id, "certificatePem": string(cert)}, nil
}

func (r *Registry) describeCertificate(id string) (any, error) {
	c, ok := r.certificates[id]
	if !ok {
		return nil, notFound("Certificate not found (id=%s)", id)
	}
	status := map[bool]string{true: "ACTIVE", false: "INACTIVE"}[c.active]
	return map[string]any{"certificateDescription": map[string]any{
		"certificateArn": r.arn("cert/" + id), "certificateId": id, "status": status, "certificatePem": c.pem,
	}}, nil
}

func (r *Registry) updateCertificate(id, status string) (any, error) {
	c, ok := r.certificates[id]
	if !ok {
		return nil, notFound("Certificate not found (id=%s)", id)
	}
	c.active = status == "ACTIVE"
	return struct{}{}, nil
}
