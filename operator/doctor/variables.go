package doctor

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
)

// subject is whom a policy is judged for. What is not known of it is empty.
type subject struct {
	thing, clientID string
	thingType       string
	attributes      map[string]string // of the thing

	certificateID string
	certificate   *x509.Certificate
}

// parsePEM returns a certificate, nil if text is none.
func parsePEM(text string) *x509.Certificate {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

// resolve returns what a resource matches, cut down to what follows the account in its ARN, with the values of its policy
// variables. One whose value is not known matches everything, and is returned.
func (s subject) resolve(resource string) (match pattern, unknown string) {
	if parts := strings.SplitN(resource, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		resource = parts[5]
	}
	for {
		text, rest, found := strings.Cut(resource, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			return match.text(resource), unknown
		}
		match = match.text(text)
		if value, known := s.value(name); known {
			match = match.value(value)
		} else {
			match, unknown = append(match, anyText), "${"+name+"}"
		}
		resource = after
	}
}

// value returns what a policy variable stands for (AWS IoT Core developer guide, policy variables). Those of the thing have
// a value only where the client id is the thing's name, or where the certificate is attached exclusively to the thing; the
// operator cannot see the latter, so it is assumed.
func (s subject) value(name string) (value string, known bool) {
	switch name {
	case "*", "?", "$":
		return name, true
	case "iot:Connection.Thing.ThingName":
		return s.thing, true
	case "iot:Connection.Thing.ThingTypeName":
		return s.thingType, s.thingType != ""
	case "iot:ClientId":
		return s.clientID, true
	case "iot:CertificateId":
		return s.certificateID, s.certificateID != ""
	}
	if attribute, ok := strings.CutPrefix(name, "iot:Connection.Thing.Attributes["); ok {
		value, known = s.attributes[strings.TrimSuffix(attribute, "]")]
		return value, known
	}
	if s.certificate == nil {
		return "", false
	}
	if field, ok := strings.CutPrefix(name, "iot:Certificate.Subject."); ok {
		return first(s.certificate.Subject, field)
	}
	if field, ok := strings.CutPrefix(name, "iot:Certificate.Issuer."); ok {
		return first(s.certificate.Issuer, field)
	}
	return "", false
}

// nameFields has the object identifiers (ITU-T X.520) of a name's fields, as policy variables call them.
var nameFields = map[string]string{
	"CommonName": "2.5.4.3", "Surname": "2.5.4.4", "SerialNumber": "2.5.4.5", "Country": "2.5.4.6", "State": "2.5.4.8",
	"Organization": "2.5.4.10", "OrganizationalUnit": "2.5.4.11", "Title": "2.5.4.12", "GivenName": "2.5.4.42",
	"Initials": "2.5.4.43", "GenerationQualifier": "2.5.4.44", "DistinguishedNameQualifier": "2.5.4.46", "Pseudonym": "2.5.4.65",
}

// first returns the first value of a field, which is the one that a variable without an index has.
func first(name pkix.Name, field string) (value string, known bool) {
	for _, n := range name.Names {
		if id := nameFields[field]; id != "" && n.Type.String() == id {
			value, known = n.Value.(string)
			return value, known
		}
	}
	return "", false
}
