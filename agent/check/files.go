package check

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/tpmkey"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
)

// expirySoon is how early to warn about a certificate's end.
const expirySoon = 30 * 24 * time.Hour

const setClock = "set the device's clock (timedatectl shows it; NTP keeps it)"

// files checks the certificate, its key and the roots of both trust stores.
func (c *checkup) files() []*Result {
	problems := problemsByKey(c.cfg.CheckFiles())
	list := []*Result{}
	if c.cfg.MQTT.Disabled {
		return append(list, c.tunnelRoots(problems["tunnel.ca_file"]))
	}
	if c.cfg.MQTT.CertFile != "" {
		list = append(list, c.certificate(problems["mqtt.cert_file"]), c.key(problems["mqtt.key_file"], problems["mqtt.cert_file"] == nil))
	}
	if c.cfg.MQTT.ByName() {
		list = append(list, c.login(cmp.Or(problems["mqtt.password_file"], problems["mqtt.authorizer_token_file"])))
	}
	list = append(list,
		c.brokerRoots(problems["mqtt.ca_file"]),
		c.tunnelRoots(problems["tunnel.ca_file"]),
	)
	return list
}

// problemsByKey maps CheckFiles' errors to keys. What concerns two files belongs to the second.
func problemsByKey(err error) map[string]error {
	byKey := map[string]error{}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if f, ok := errors.AsType[*config.FileError](err); ok {
			byKey[f.Keys[len(f.Keys)-1]] = f
		}
	}
	return byKey
}

// fileFailure is the result for an error of CheckFiles.
func (c *checkup) fileFailure(id string, err error) *Result {
	remedy := hint.Of(err)
	switch {
	case errors.Is(err, fs.ErrPermission) && c.EUID() != 0:
		remedy = "run the check as root, or as the user that runs the daemon"
	case errors.Is(err, fs.ErrNotExist) && strings.Contains(err.Error(), " /run/credentials/"):
		remedy = "systemd puts it there while the unit runs: start the unit, and check again"
	}
	return failed(id, remedy, "%v", err)
}

func (c *checkup) certificate(problem error) *Result {
	const id = "files.certificate"
	if config.IsCredential(c.cfg.MQTT.CertFile) {
		return handedOver(id, c.cfg.MQTT.CertFile)
	}
	if problem != nil {
		return c.fileFailure(id, problem)
	}
	chain := certificatesOf(c.cfg.MQTT.CertFile)
	if len(chain) == 0 {
		return failed(id, "copy the file again", "no certificate in %s can be parsed", c.cfg.MQTT.CertFile)
	}
	leaf, now := chain[0], c.Now()
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.Before(leaf.NotBefore):
		return failed(id, setClock, "%s is valid only from %s, and this device's clock says %s", c.cfg.MQTT.CertFile,
			leaf.NotBefore.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly))
	case now.After(leaf.NotAfter):
		return failed(id, "make a new one, attach its policy and thing, and put it there; or, if the clock is fast, set it",
			"%s expired on %s, by this device's clock", c.cfg.MQTT.CertFile, until)
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return failed(id, "use the certificate that was issued for the device", "%s is not for clients, by its extended key usage", c.cfg.MQTT.CertFile)
	}
	for i, issuer := range chain[1:] {
		if chain[i].CheckSignatureFrom(issuer) != nil {
			return warning(id, "put the device's certificate first, and each issuer after what it signed",
				"%s has %d certificates, and number %d did not sign number %d", c.cfg.MQTT.CertFile, len(chain), i+2, i+1)
		}
	}
	if r, ok := c.readable(id, c.cfg.MQTT.CertFile); !ok {
		return r
	}
	text := fmt.Sprintf("%s, issued by %s, valid until %s", name(leaf.Subject.CommonName), name(leaf.Issuer.CommonName), until)
	switch left := leaf.NotAfter.Sub(now); {
	case left < expirySoon:
		return warning(id, "renew it before that", "%s, in %s", text, plural(int(left/(24*time.Hour)), "day"))
	case leaf.IsCA:
		return warning(id, "check that mqtt.cert_file is the device's own", "%s: a certificate authority's", text)
	}
	return well(id, "%s", text)
}

func (c *checkup) key(problem error, certificate bool) *Result {
	const id = "files.key"
	if config.IsCredential(c.cfg.MQTT.KeyFile) {
		return handedOver(id, c.cfg.MQTT.KeyFile)
	}
	if problem != nil {
		return c.fileFailure(id, problem)
	}
	if tpm := c.cfg.MQTT.TPMKey; tpm.Handle != 0 {
		return c.tpmKey(tpm, certificate)
	}
	if r, ok := c.readable(id, c.cfg.MQTT.KeyFile); !ok {
		return r
	}
	fits := ""
	if certificate {
		fits = " fits the certificate"
		if chain := certificatesOf(c.cfg.MQTT.CertFile); len(chain) > 0 {
			fits = keyName(chain[0].PublicKey) + " fits the certificate"
		}
	}
	return well(id, "%s", strings.TrimLeft(fits+modeNote(c.cfg.MQTT.KeyFile), " ,"))
}

// handedOver is the result for a credential, which systemd gives to the running daemon alone.
func handedOver(id, path string) *Result {
	return skipped(id, "systemd hands the credential %s to the daemon alone", filepath.Base(path))
}

// tpmKey lets the TPM sign, as a handshake does.
func (c *checkup) tpmKey(key config.TPMKey, certificate bool) *Result {
	const id = "files.key"
	if !certificate {
		return skipped(id, "its certificate cannot be used")
	}
	cert, err := tpmkey.Certificate(c.cfg.MQTT.CertFile, key.Device, key.Handle)
	if err != nil {
		return failed(id, hint.Of(err), "mqtt.key_file: %v", err)
	}
	signer, _ := cert.PrivateKey.(*tpmkey.Key)
	digest := sha256.Sum256([]byte("culvertd check"))
	var options crypto.SignerOpts = crypto.SHA256
	if tpmkey.TLS13(cert) && cert.Leaf.PublicKeyAlgorithm == x509.RSA {
		options = &rsa.PSSOptions{Hash: crypto.SHA256}
	}
	if _, err := signer.Sign(nil, digest[:], options); err != nil {
		return failed(id, hint.Of(err), "mqtt.key_file: %v", err)
	}
	return well(id, "%s, %s, fits the certificate and signs", signer, keyName(cert.Leaf.PublicKey))
}

// login names the device's identity, but not its secrets.
func (c *checkup) login(problem error) *Result {
	const id = "files.login"
	if problem != nil {
		return c.fileFailure(id, problem)
	}
	m := c.cfg.MQTT
	for _, path := range []string{m.PasswordFile, m.TokenFile} {
		if path == "" {
			continue
		}
		if config.IsCredential(path) {
			return handedOver(id, path)
		}
		if r, ok := c.readable(id, path); !ok {
			return r
		}
	}
	var parts []string
	if m.Authorizer != "" {
		parts = append(parts, "custom authorizer "+m.Authorizer)
	}
	if m.TokenFile != "" {
		parts = append(parts, "with a token")
	}
	if m.Username != "" {
		parts = append(parts, "user name "+clean.Line(m.Username, 64))
	}
	if m.PasswordFile != "" {
		parts = append(parts, "with a password")
	}
	return well(id, "%s", strings.Join(parts, ", "))
}

func keyName(public any) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA of %d bits", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "it"
}

func (c *checkup) brokerRoots(problem error) *Result {
	const id = "files.broker_roots"
	file := c.cfg.MQTT.CAFile
	switch {
	case problem != nil:
		return c.fileFailure(id, problem)
	case file == "" && !systemRoots():
		return failed(id, "install ca-certificates, or put Amazon Root CA 1 there and name it in mqtt.ca_file", "the system has no root certificates, and mqtt.ca_file is not set")
	case file == "":
		return well(id, "the system's")
	}
	return c.roots(id, file, "%s, and no others")
}

// tunnelRoots are not the broker's: the data endpoint has ordinary public certificates.
func (c *checkup) tunnelRoots(problem error) *Result {
	const id = "files.tunnel_roots"
	file := c.cfg.Tunnel.CAFile
	switch {
	case problem != nil:
		return c.fileFailure(id, problem)
	case strings.HasPrefix(c.cfg.Tunnel.Endpoint, "ws://"):
		return well(id, "not needed: tunnel.endpoint is without TLS, on this machine")
	case file == "" && !systemRoots():
		return failed(id, "install ca-certificates; mqtt.ca_file is for the broker alone", "the system has no root certificates, and tunnels need them")
	case file == "":
		return well(id, "the system's")
	case !systemRoots():
		return c.roots(id, file, "%s alone: the system has none")
	}
	return c.roots(id, file, "the system's, and %s")
}

// roots checks a file of root certificates; format says which others are trusted.
func (c *checkup) roots(id, file, format string) *Result {
	if r, ok := c.readable(id, file); !ok {
		return r
	}
	expired := 0
	list := certificatesOf(file)
	for _, cert := range list {
		if c.Now().After(cert.NotAfter) {
			expired++
		}
	}
	text := fmt.Sprintf(format, plural(len(list), "certificate")+" of "+file)
	switch {
	case expired == len(list):
		return failed(id, "fetch the file again, or set the clock if it is fast", "%s: expired, by this device's clock", text)
	case expired > 0:
		return warning(id, "fetch the file again", "%s: %d expired, by this device's clock", text, expired)
	}
	return well(id, "%s", text)
}

// systemRoots reports whether the system has root certificates.
func systemRoots() bool {
	pool, err := x509.SystemCertPool()
	return err == nil && !pool.Equal(x509.NewCertPool())
}

// certificatesOf returns the certificates of a PEM file that can be parsed.
func certificatesOf(path string) []*x509.Certificate {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return list
		}
		if cert, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			list = append(list, cert)
		}
	}
}

func name(commonName string) string {
	if commonName == "" {
		return "(no name)"
	}
	return clean.Line(commonName, 64)
}
