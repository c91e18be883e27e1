package tpmkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"

	"github.com/culvert-iot/culvert/internal/hint"
)

// devices are tried in order where none is named: the kernel's resource manager, which lets programs share the TPM, first.
var devices = []string{"/dev/tpmrm0", "/dev/tpm0"}

// hashes are those of TLS, by the TPM's numbers.
var hashes = map[crypto.Hash]tpm2.Algorithm{
	crypto.SHA1: tpm2.AlgSHA1, crypto.SHA256: tpm2.AlgSHA256, crypto.SHA384: tpm2.AlgSHA384, crypto.SHA512: tpm2.AlgSHA512,
}

// Key is a crypto.Signer. The TPM is opened for each signature, so that it may be used by others in between.
type Key struct {
	device string
	handle tpmutil.Handle
	public crypto.PublicKey
	usable []tls.SignatureScheme
}

// Load reads the public part of the key under a persistent handle. device is a character device, or the unix socket of an
// emulator; "" is the system's TPM. Errors carry hints.
func Load(device string, handle uint32) (*Key, error) {
	k := &Key{device: device, handle: tpmutil.Handle(handle)}
	var public tpm2.Public
	err := k.open(func(tpm io.ReadWriter) (err error) {
		public, _, _, err = tpm2.ReadPublic(tpm, k.handle)
		return err
	})
	if err != nil {
		return nil, err
	}
	if k.public, err = public.Key(); err != nil {
		return nil, hint.Wrap(fmt.Errorf("%s: %w", k, err), "use RSA, or ECDSA on P-256, P-384 or P-521")
	}
	if public.Attributes&tpm2.FlagSign == 0 || public.Attributes&tpm2.FlagRestricted != 0 {
		return nil, hint.Wrap(fmt.Errorf("%s may not sign what it is given", k), "make a key that is for signing and not restricted")
	}
	k.usable = k.schemes(public)
	if len(k.usable) == 0 {
		return nil, hint.Wrap(fmt.Errorf("%s signs in no way that TLS knows", k), "make it without a scheme of its own")
	}
	return k, nil
}

// String names the key for messages.
func (k *Key) String() string {
	if k.device == "" {
		return fmt.Sprintf("the key 0x%08x of the TPM", uint32(k.handle))
	}
	return fmt.Sprintf("the key 0x%08x of the TPM %s", uint32(k.handle), k.device)
}

// Public returns the public key: *rsa.PublicKey or *ecdsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Certificate reads a certificate, and those of its issuers after it, from a PEM file. Its key is the TPM's, which must fit.
func Certificate(file, device string, handle uint32) (tls.Certificate, error) {
	var cert tls.Certificate
	data, err := os.ReadFile(file) // the path is the operator's own
	if err != nil {
		return cert, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert.Certificate = append(cert.Certificate, block.Bytes)
		}
	}
	if len(cert.Certificate) == 0 {
		return cert, hint.New(file+" has no certificate in PEM form", "copy the file again")
	}
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return cert, hint.Wrap(fmt.Errorf("%s: %w", file, err), "copy the file again")
	}
	k, err := Load(device, handle)
	if err != nil {
		return cert, err
	}
	if fits, ok := k.public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !fits.Equal(cert.Leaf.PublicKey) {
		return cert, hint.Wrap(fmt.Errorf("%s and %s do not fit together", k, file), "use the certificate that was made with this key")
	}
	cert.PrivateKey, cert.SupportedSignatureAlgorithms = k, k.usable
	return cert, nil
}

// TLS13 reports whether TLS 1.3 allows one of a certificate's signatures: RSA needs PSS there (RFC 8446, section 4.2.3).
func TLS13(cert tls.Certificate) bool {
	for _, s := range cert.SupportedSignatureAlgorithms {
		if s != tls.PKCS1WithSHA256 && s != tls.PKCS1WithSHA384 && s != tls.PKCS1WithSHA512 {
			return true
		}
	}
	return false
}

// schemes finds what the key can sign. A scheme that it was made with is the only one.
func (k *Key) schemes(public tpm2.Public) []tls.SignatureScheme {
	if ec, ok := k.public.(*ecdsa.PublicKey); ok {
		own := public.ECCParameters.Sign
		// In TLS 1.3 each curve has its hash (RFC 8446, section 4.2.3).
		switch size := ec.Curve.Params().BitSize; {
		case size == 256 && allows(own, tpm2.AlgECDSA, tpm2.AlgSHA256):
			return []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}
		case size == 384 && allows(own, tpm2.AlgECDSA, tpm2.AlgSHA384):
			return []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}
		case size == 521 && allows(own, tpm2.AlgECDSA, tpm2.AlgSHA512):
			return []tls.SignatureScheme{tls.ECDSAWithP521AndSHA512}
		}
		return nil
	}
	own := public.RSAParameters.Sign
	all := []struct {
		scheme tls.SignatureScheme
		alg    tpm2.Algorithm
		hash   tpm2.Algorithm
	}{
		{tls.PSSWithSHA256, tpm2.AlgRSAPSS, tpm2.AlgSHA256},
		{tls.PSSWithSHA384, tpm2.AlgRSAPSS, tpm2.AlgSHA384},
		{tls.PSSWithSHA512, tpm2.AlgRSAPSS, tpm2.AlgSHA512},
		{tls.PKCS1WithSHA256, tpm2.AlgRSASSA, tpm2.AlgSHA256},
		{tls.PKCS1WithSHA384, tpm2.AlgRSASSA, tpm2.AlgSHA384},
		{tls.PKCS1WithSHA512, tpm2.AlgRSASSA, tpm2.AlgSHA512},
	}
	var usable []tls.SignatureScheme
	salts := (own == nil || own.Alg != tpm2.AlgRSASSA) && k.saltFits()
	for _, s := range all {
		if allows(own, s.alg, s.hash) && (s.alg != tpm2.AlgRSAPSS || salts) {
			usable = append(usable, s.scheme)
		}
	}
	return usable
}

func allows(own *tpm2.SigScheme, alg, hash tpm2.Algorithm) bool {
	return own == nil || own.Alg.IsNull() || own.Alg == alg && own.Hash == hash
}

// saltFits tries whether the TPM's PSS has a salt as long as the hash, which TLS demands (RFC 8446, section 4.2.3). TPMs
// of before revision 1.38 of the specification take the longest salt there is room for (part 1, B.7).
func (k *Key) saltFits() bool {
	public, ok := k.public.(*rsa.PublicKey)
	if !ok {
		return false
	}
	digest := sha256.Sum256([]byte("culvertd"))
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature, err := k.Sign(nil, digest[:], options)
	return err == nil && rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, options) == nil
}

// Sign implements crypto.Signer. The TPM makes its own random numbers.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash, ok := hashes[opts.HashFunc()]
	if !ok {
		return nil, fmt.Errorf("%s: the hash %v is not known", k, opts.HashFunc())
	}
	scheme := &tpm2.SigScheme{Alg: tpm2.AlgRSASSA, Hash: hash}
	if _, ok := opts.(*rsa.PSSOptions); ok {
		scheme.Alg = tpm2.AlgRSAPSS
	}
	if _, ok := k.public.(*ecdsa.PublicKey); ok {
		scheme.Alg = tpm2.AlgECDSA
	}
	var signature *tpm2.Signature
	err := k.open(func(tpm io.ReadWriter) (err error) {
		signature, err = tpm2.Sign(tpm, k.handle, "", digest, nil, scheme)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case signature.RSA != nil:
		return signature.RSA.Signature, nil
	case signature.ECC != nil:
		return asn1.Marshal(struct{ R, S *big.Int }{signature.ECC.R, signature.ECC.S})
	}
	return nil, fmt.Errorf("%s gave a signature of another kind than it was asked for", k)
}

// open lets use have the TPM.
func (k *Key) open(use func(io.ReadWriter) error) error {
	paths := devices
	if k.device != "" {
		paths = []string{k.device}
	}
	var tpm io.ReadWriteCloser
	var err error
	for _, path := range paths {
		if tpm, err = tpmutil.OpenTPM(path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err == nil {
		err = use(tpm)
		_ = tpm.Close() // the emulator's has nothing to close, and says so
	}
	return k.explain(err)
}

// explain attaches a hint.
func (k *Key) explain(err error) error {
	var handle tpm2.HandleError
	var session tpm2.SessionError
	advice := "see whether tpm2_getcap handles-persistent shows it"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		advice = "the device has no TPM 2.0, or the kernel no driver for it"
	case errors.Is(err, fs.ErrPermission):
		advice = "let culvertd's user use the TPM: usermod -aG tss culvert, and restart culvertd"
	case errors.As(err, &handle) && handle.Code == tpm2.RCHandle:
		advice = "no key is kept there; tpm2_evictcontrol keeps one, and tpm2_getcap handles-persistent lists them"
	case errors.As(err, &session) && (session.Code == tpm2.RCAuthFail || session.Code == tpm2.RCBadAuth):
		advice = "it has a password, which cannot be typed at a device: make a key without one"
	}
	return hint.Wrap(fmt.Errorf("%s: %w", k, err), advice)
}
