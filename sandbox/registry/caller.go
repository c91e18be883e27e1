package registry

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Caller is whom AWS STS sees in a caller, and what IAM's policy simulator says of them. The zero value is the user
// "sandbox" who may do everything. In JSON its members have the names of the Go fields.
type Caller struct {
	ARN     string   // "": the account's user "sandbox"
	RoleARN string   // with its path, for an assumed role: the simulator knows no other; "": ARN's has none
	Denied  []string // actions, such as iot:OpenTunnel, that no policy allows
	// DeniedBy is whose policies deny them: "organization" or "boundary"; "": those of the user or role.
	DeniedBy string
	// Depends has, for actions, the condition keys that their policy has, and one value that the key must have. The
	// simulator asks for keys without a value.
	Depends map[string]map[string]string
	// MissingOnTop puts the keys that it asks for at the action, instead of the action's resource: the API reference
	// can be read both ways.
	MissingOnTop bool
	NoAccess     bool // the caller may not use the simulator
}

// SetCaller changes who calls.
func (r *Registry) SetCaller(c Caller) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caller = c
}

// query answers the two services of AWS's query protocol: STS's GetCallerIdentity, which needs no permission, and IAM's
// SimulatePrincipalPolicy and GetRole (their API references).
func (r *Registry) query(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	caller := r.caller
	r.mu.Unlock()
	if caller.ARN == "" {
		caller.ARN = "arn:aws:iam::" + r.cfg.Account + ":user/sandbox"
	}
	w.Header().Set("Content-Type", "text/xml")
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	action, service, space := req.PostFormValue("Action"), "iam", "https://iam.amazonaws.com/doc/2010-05-08/"
	var result string
	var err error
	switch action {
	case "GetCallerIdentity":
		service, space = "sts", "https://sts.amazonaws.com/doc/2011-06-15/"
		result = "<Arn>" + caller.ARN + "</Arn><UserId>SANDBOX</UserId><Account>" + r.cfg.Account + "</Account>"
	case "SimulatePrincipalPolicy":
		result, err = caller.simulate(req)
	case "GetRole":
		result, err = caller.role(req.PostFormValue("RoleName"))
	default:
		err = &apiError{http.StatusBadRequest, "InvalidAction", "The sandbox knows GetCallerIdentity, SimulatePrincipalPolicy and GetRole alone."}
	}
	if e := r.signed(req, service); e != nil {
		err = e
	}
	space = `xmlns="` + space + `"`
	if e, ok := errors.AsType[*apiError](err); ok {
		w.WriteHeader(e.status)
		_, _ = io.WriteString(w, "<ErrorResponse "+space+"><Error><Type>Sender</Type><Code>"+e.kind+"</Code><Message>"+e.message+"</Message></Error></ErrorResponse>")
		return
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	answer := "<" + action + "Response " + space + "><" + action + "Result>" + result + "</" + action + "Result><ResponseMetadata><RequestId>" +
		hex.EncodeToString(id) + "</RequestId></ResponseMetadata></" + action + "Response>"
	_, _ = io.WriteString(w, answer) //nolint:gosec // action is one of the three above
}

// source is the ARN that the simulator knows the caller by.
func (c Caller) source() string {
	if c.RoleARN != "" {
		return c.RoleARN
	}
	assumed := strings.Split(c.ARN, "/")
	if len(assumed) == 3 && strings.Contains(c.ARN, ":assumed-role/") {
		return strings.NewReplacer(":sts:", ":iam:", ":assumed-role", ":role").Replace(assumed[0]) + "/" + assumed[1]
	}
	return c.ARN
}

func (c Caller) simulate(req *http.Request) (string, error) {
	if c.NoAccess {
		return "", &apiError{http.StatusForbidden, "AccessDenied", "User: " + c.ARN + " is not authorized to perform: iam:SimulatePrincipalPolicy"}
	}
	if source := req.PostFormValue("PolicySourceArn"); source != c.source() {
		return "", &apiError{http.StatusNotFound, "NoSuchEntity", "The sandbox knows no " + cleaned(source)}
	}
	var b strings.Builder
	b.WriteString("<IsTruncated>false</IsTruncated><EvaluationResults>")
	values := contextOf(req)
	resource := cleaned(req.PostFormValue("ResourceArns.member.1"))
	for i := 1; ; i++ {
		action := req.PostFormValue("ActionNames.member." + strconv.Itoa(i))
		if action == "" {
			break
		}
		decision, missing := c.decide(action, values)
		top, below := "", missing
		if c.MissingOnTop {
			top, below = missing, ""
		}
		b.WriteString("<member><EvalActionName>" + cleaned(action) + "</EvalActionName><EvalResourceName>" + resource + "</EvalResourceName>" +
			"<EvalDecision>" + decision + "</EvalDecision><MissingContextValues>" + top + "</MissingContextValues>")
		denied := slices.Contains(c.Denied, action)
		if c.DeniedBy == "organization" {
			b.WriteString("<OrganizationsDecisionDetail><AllowedByOrganizations>" + strconv.FormatBool(!denied) + "</AllowedByOrganizations></OrganizationsDecisionDetail>")
		}
		if c.DeniedBy == "boundary" {
			b.WriteString("<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>" + strconv.FormatBool(!denied) + "</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>")
		}
		b.WriteString("<ResourceSpecificResults><member><EvalResourceName>" + resource + "</EvalResourceName><EvalResourceDecision>" + decision +
			"</EvalResourceDecision><MissingContextValues>" + below + "</MissingContextValues></member></ResourceSpecificResults></member>")
	}
	return b.String() + "</EvaluationResults>", nil
}

// decide judges an action, and returns the condition keys without a value as XML.
func (c Caller) decide(action string, values map[string][]string) (decision, missing string) {
	decision = "allowed"
	if slices.Contains(c.Denied, action) {
		decision = "implicitDeny"
	}
	for _, key := range slices.Sorted(maps.Keys(c.Depends[action])) {
		given, known := values[key]
		if !known {
			missing += "<member>" + cleaned(key) + "</member>"
		}
		if !slices.Contains(given, c.Depends[action][key]) {
			decision = "implicitDeny"
		}
	}
	return decision, missing
}

// contextOf returns the values of condition keys that a simulation is asked with.
func contextOf(req *http.Request) map[string][]string {
	values := map[string][]string{}
	for i := 1; ; i++ {
		entry := "ContextEntries.member." + strconv.Itoa(i) + "."
		key := req.PostFormValue(entry + "ContextKeyName")
		if key == "" {
			return values
		}
		values[key] = []string{}
		for k := 1; req.PostFormValue(entry+"ContextKeyValues.member."+strconv.Itoa(k)) != ""; k++ {
			values[key] = append(values[key], req.PostFormValue(entry+"ContextKeyValues.member."+strconv.Itoa(k)))
		}
	}
}

func (c Caller) role(name string) (string, error) {
	if c.RoleARN == "" || !strings.HasSuffix(c.RoleARN, "/"+name) {
		return "", &apiError{http.StatusNotFound, "NoSuchEntity", "The role cannot be found."}
	}
	return "<Role><RoleName>" + cleaned(name) + "</RoleName><Arn>" + c.RoleARN + "</Arn></Role>", nil
}

// cleaned is text of a request for XML.
func cleaned(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
