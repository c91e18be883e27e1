package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"time"
)

// How long certificates are good for. They begin an hour ago, for devices whose clock is a little slow.
const (
	validBefore = time.Hour
	validFor    = 10 * 365 * 24 * time.Hour
)

var thingName = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

// ValidThing reports whether name may name a thing: 1 to 128 of letters, digits, colon, underscore and hyphen
// (AWS IoT API reference).
func ValidThing(name string) bool { return thingName.MatchString(name) }

// Authority is a root certificate with its key. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte

	from, until time.Time // of what it signs; zero: newTemplate's
}

// Between returns the same authority, whose certificates are valid from one time until another, in whole seconds: for
// those that have expired, and for clocks that are wrong.
func (a *Authority) Between(from, until time.Time) *Authority {
	b := *a
	b.from, b.until = from, until
	return &b
}

// New makes an authority that exists in memory only. name is its common name.
func New(name string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(name)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign root certificate: %w", err)
	}
	return parseAuthority(der, key)
}

func parseAuthority(der []byte, key crypto.Signer) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse root certificate: %w", err)
	}
	return &Authority{cert: cert, key: key, pem: encodeCertificate(der)}, nil
}

// PEM is the root certificate as a file holds it.
func (a *Authority) PEM() []byte { return append([]byte(nil), a.pem...) }

// Pool holds the root certificate alone: the trust store of clients, and of servers that demand a client certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Server makes a certificate for the loopback addresses, localhost and names, each a host name or an IP address.
func (a *Authority) Server(names ...string) (tls.Certificate, error) {
	template, err := newTemplate("culvert sandbox")
	if err != nil {
		return tls.Certificate{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range append([]string{"localhost", "127.0.0.1", "::1"}, names...) {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if name != "" {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, key, err := a.sign(template)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Device is a thing's certificate and private key, both PEM.
type Device struct {
	Thing   string
	CertPEM []byte
	KeyPEM  []byte
}

// Device makes a new certificate for a thing, good for client authentication only.
func (a *Authority) Device(thing string) (Device, error) {
	if !ValidThing(thing) {
		return Device{}, fmt.Errorf("thing name %q: use 1 to 128 letters, digits, ':', '_' or '-'", thing)
	}
	template, err := newTemplate(thing)
	if err != nil {
		return Device{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, key, err := a.sign(template)
	if err != nil {
		return Device{}, fmt.Errorf("certificate of %s: %w", thing, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Device{}, err
	}
	return Device{Thing: thing, CertPEM: encodeCertificate(der), KeyPEM: keyPEM}, nil
}

// TLS is the device's certificate as a TLS client presents it.
func (d Device) TLS() (tls.Certificate, error) { return tls.X509KeyPair(d.CertPEM, d.KeyPEM) }

// Thing returns the name of the thing that a verified certificate belongs to.
func Thing(cert *x509.Certificate) (string, error) {
	if cert == nil || !ValidThing(cert.Subject.CommonName) {
		return "", errors.New("the certificate names no thing: its common name must be the thing's name")
	}
	return cert.Subject.CommonName, nil
}

func (a *Authority) sign(template *x509.Certificate) (der []byte, key crypto.Signer, err error) {
	if key, err = newKey(); err != nil {
		return nil, nil, err
	}
	if !a.until.IsZero() {
		template.NotBefore, template.NotAfter = a.from, a.until
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	return der, key, err
}

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func newTemplate(commonName string) (*x509.Certificate, error) {
	// 128 random bits: two sandboxes, or two runs of one, never issue the same serial number.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-validBefore),
		NotAfter:     now.Add(validFor),
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Sign makes a certificate, in PEM form, from a signing request in DER form, as AWS IoT does: good for client
// authentication, and named after nothing that the request says.
func (a *Authority) Sign(request []byte) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("parse signing request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("signing request: %w", err)
	}
	template, err := newTemplate("AWS IoT Certificate")
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return encodeCertificate(der), nil
}
