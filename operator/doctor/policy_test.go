package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
)

// certificateOf returns one with this subject, in PEM.
func certificateOf(t *testing.T, name pkix.Name) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestPoliciesAreJudgedAsAWSDoes(t *testing.T) {
	who := subject{
		thing: "pi-1", clientID: "pi-1-tunnel", thingType: "pi", attributes: map[string]string{"site": "pi-1", "wild": "*"}, certificateID: "0123",
		certificate: parsePEM(certificateOf(t, pkix.Name{CommonName: "pi-1", Organization: []string{"pi-1", "other"}, SerialNumber: "*"})),
	}
	allow := func(resource, more string) string {
		return `{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/` + resource + `"` + more + `}`
	}
	deny := func(resource, more string) string {
		return `{"Effect":"Deny","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/` + resource + `"` + more + `}`
	}
	const condition = `,"Condition":{"Bool":{"x":"true"}}`
	for name, c := range map[string]struct {
		document string
		want     decision
		why      string
	}{
		"exact":         {allow("pi-1-tunnel", ""), allowed, ""},
		"another one":   {allow("pi-2-tunnel", ""), refused, ""},
		"wild card":     {`{"Effect":"Allow","Action":"iot:*","Resource":"*"}`, allowed, ""},
		"wild cards":    {allow("p*1-*nel", ""), allowed, ""},
		"variable":      {`{"Effect":"Allow","Action":["iot:Connect"],"Resource":["arn:aws:iot:r:1:client/${iot:Connection.Thing.ThingName}-tunnel"]}`, allowed, ""},
		"thing alone":   {allow("${iot:Connection.Thing.ThingName}", ""), refused, ""},
		"question mark": {`{"Effect":"Allow","Action":"IOT:connect","Resource":"arn:aws:iot:r:1:client/pi-?-tunnel"}`, allowed, ""},
		"denied":        {`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iot:Connect","Resource":"*tunnel"}`, refused, ""},

		"client id":                   {allow("${iot:ClientId}", ""), allowed, ""},
		"common name":                 {allow("${iot:Certificate.Subject.CommonName}-tunnel", ""), allowed, ""},
		"issuer":                      {allow("${iot:Certificate.Issuer.CommonName}-tunnel", ""), allowed, ""},
		"the first of several values": {allow("${iot:Certificate.Subject.Organization}-tunnel", ""), allowed, ""},
		"attribute":                   {allow("${iot:Connection.Thing.Attributes[site]}-tunnel", ""), allowed, ""},
		"type":                        {allow("${iot:Connection.Thing.ThingTypeName}-1-tunnel", ""), allowed, ""},
		"certificate id":              {allow("${iot:CertificateId}", ""), refused, ""},
		"a value is no wild card":     {allow("${iot:Connection.Thing.Attributes[wild]}", ""), refused, ""},
		"nor is a certificate's":      {allow("${iot:Certificate.Subject.SerialNumber}", ""), refused, ""},
		"a literal star":              {allow("pi-1${*}", ""), refused, ""},
		"not closed":                  {allow("pi-1${iot:ClientId", ""), refused, ""},

		"an attribute that is not there":  {allow("${iot:Connection.Thing.Attributes[none]}-tunnel", ""), undecided, "${iot:Connection.Thing.Attributes[none]}"},
		"a field that is not there":       {allow("${iot:Certificate.Subject.Country}-tunnel", ""), undecided, "${iot:Certificate.Subject.Country}"},
		"a variable of the connection":    {allow("${aws:SourceIp}-tunnel", ""), undecided, "${aws:SourceIp}"},
		"one that cannot fit":             {allow("${aws:SourceIp}-other", ""), refused, ""},
		"one beside one that suffices":    {allow("${aws:SourceIp}*", "") + "," + allow("pi-1-tunnel", ""), allowed, ""},
		"denied by what is not known":     {allow("*", "") + "," + deny("${aws:SourceIp}*", ""), undecided, "${aws:SourceIp}"},
		"denied by that and for certain":  {deny("${aws:SourceIp}*", "") + "," + deny("*", "") + "," + allow("*", ""), refused, ""},
		"denied perhaps, allowed nowhere": {deny("${aws:SourceIp}*", ""), refused, ""},

		"a condition":                {allow("*", condition), undecided, "a condition"},
		"a condition that is beside": {allow("*", condition) + "," + allow("*", ""), allowed, ""},
		"a condition of another one": {allow("pi-2-tunnel", condition), refused, ""},
		"a condition of a denial":    {allow("*", "") + "," + deny("*", condition), undecided, "a condition"},
		"NotAction":                  {`{"Effect":"Allow","NotAction":"iot:Publish","Resource":"*"}`, undecided, "NotAction"},
		"NotResource":                {allow("*", "") + `,{"Effect":"Deny","Action":"*","NotResource":"x"}`, undecided, "NotResource"},
	} {
		t.Run(name, func(t *testing.T) {
			var p policy
			if err := p.add("mine", `{"Version":"2012-10-17","Statement":[`+c.document+`]}`); err != nil {
				t.Fatal(err)
			}
			got := p.judge("iot:Connect", "client/pi-1-tunnel", who)
			if got.decision != c.want || got.why != c.why || (got.policy == "mine") != (c.want == undecided) {
				t.Errorf("judged %+v", got)
			}
		})
	}
}

func TestADocumentMayHaveOneStatement(t *testing.T) {
	var p policy
	if err := p.add("mine", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`); err != nil || len(p.statements) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if err := p.add("mine", `{"Statement":7}`); err == nil {
		t.Error("a number was read")
	}
}
