package api

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far a signature's date may be from now (AWS general reference: five minutes for most services).
const maxSkew = 5 * time.Minute

var signatureForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// authorize checks the form of a Signature Version 4 (AWS general reference): that it is there, for this service and
// region, of today. Whose key it names, and whether it is right, is not looked at.
func (a *API) authorize(r *http.Request) error {
	header := r.Header.Get("Authorization")
	if header == "" {
		if a.cfg.AllowUnsigned {
			return nil
		}
		return &Error{Type: typeMissingAuth, Message: "Missing Authentication Token", Status: http.StatusForbidden}
	}
	incomplete := func(format string, args ...any) error {
		return &Error{Type: typeIncomplete, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
	}
	invalid := func(format string, args ...any) error {
		return &Error{Type: typeSignature, Message: fmt.Sprintf(format, args...), Status: http.StatusForbidden}
	}
	algorithm, rest, _ := strings.Cut(header, " ")
	if algorithm != "AWS4-HMAC-SHA256" {
		return incomplete("Authorization header requires the algorithm AWS4-HMAC-SHA256.")
	}
	parts := map[string]string{}
	for p := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		parts[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if parts[name] == "" {
			return incomplete("Authorization header requires '%s' parameter.", name)
		}
	}
	if !signatureForm.MatchString(parts["Signature"]) {
		return incomplete("The signature must be 64 lower case hex digits.")
	}
	signed := strings.Split(parts["SignedHeaders"], ";")
	for _, name := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(signed, name) {
			return invalid("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
	}
	// The key id comes first and may hold anything but a slash; it is dropped unread.
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 || scope[0] == "" {
		return incomplete("The credential must have the form <key id>/<date>/<region>/%s/aws4_request.", signingName)
	}
	date, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch now := a.cfg.Now(); {
	case err != nil:
		return incomplete("Authorization header requires existence of an 'X-Amz-Date' header of the form 20060102T150405Z.")
	case scope[1] != date.Format("20060102"):
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	case scope[2] != a.cfg.Store.Region():
		return invalid("Credential should be scoped to a valid region: this is %s.", a.cfg.Store.Region())
	case scope[3] != signingName:
		return invalid("Credential should be scoped to correct service: '%s'.", signingName)
	case scope[4] != "aws4_request":
		return invalid("Credential should be scoped with a valid terminator: 'aws4_request'.")
	case date.Before(now.Add(-maxSkew)):
		return invalid("Signature expired: %s is now earlier than %s: is the clock right?", stamp(date), stamp(now.Add(-maxSkew)))
	case date.After(now.Add(maxSkew)):
		return invalid("Signature not yet current: %s is still later than %s: is the clock right?", stamp(date), stamp(now.Add(maxSkew)))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("20060102T150405Z") }
