package tpmkey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"

	"github.com/culvert-iot/culvert/internal/hint"
)

// emulator starts swtpm, the TPM 2.0 of virtual machines, and returns its socket.
func emulator(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("swtpm")
	if err != nil {
		if os.Getenv("CULVERT_E2E") == "required" {
			t.Fatal("swtpm is not installed (Debian: swtpm)")
		}
		t.Skip("swtpm is not installed (Debian: swtpm): no TPM to try")
	}
	dir, err := os.MkdirTemp("", "tpm") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	var log bytes.Buffer
	cmd := exec.Command(program, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+filepath.Join(dir, "c"), "--flags", "not-need-init,startup-clear")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	// It makes the socket when it can serve.
	for end := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
			return socket
		}
		if time.Now().After(end) {
			t.Fatalf("swtpm does not answer: %v\n%s", err, &log)
		}
		<-time.After(20 * time.Millisecond)
	}
}

const signs = tpm2.FlagSign | tpm2.FlagFixedTPM | tpm2.FlagFixedParent | tpm2.FlagSensitiveDataOrigin | tpm2.FlagUserWithAuth

func rsaKey(own *tpm2.SigScheme, attributes tpm2.KeyProp) tpm2.Public {
	return tpm2.Public{
		Type: tpm2.AlgRSA, NameAlg: tpm2.AlgSHA256, Attributes: attributes,
		RSAParameters: &tpm2.RSAParams{KeyBits: 2048, Sign: own},
	}
}

func ecKey(curve tpm2.EllipticCurve, own *tpm2.SigScheme) tpm2.Public {
	return tpm2.Public{
		Type: tpm2.AlgECC, NameAlg: tpm2.AlgSHA256, Attributes: signs,
		ECCParameters: &tpm2.ECCParams{CurveID: curve, Sign: own},
	}
}

// keep makes a key and keeps it under a handle, as tpm2_createprimary and tpm2_evictcontrol do.
func keep(t *testing.T, socket string, handle tpmutil.Handle, public tpm2.Public, password string) {
	t.Helper()
	tpm, err := tpmutil.OpenTPM(socket)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := tpm2.CreatePrimary(tpm, tpm2.HandleOwner, tpm2.PCRSelection{}, "", password, public)
	if err != nil {
		t.Fatal(err)
	}
	if err := tpm2.EvictControl(tpm, "", tpm2.HandleOwner, made, handle); err != nil {
		t.Fatal(err)
	}
	if err := tpm2.FlushContext(tpm, made); err != nil {
		t.Fatal(err)
	}
}

// certify writes a certificate of the key's public part.
func certify(t *testing.T, public any) string {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pi"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, issuer)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.pem")
	text := "subject=CN = pi\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// handshake shows a certificate to a server that asks for one, and returns what they agreed on.
func handshake(t *testing.T, cert tls.Certificate, version uint16) (server tls.ConnectionState, err error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"broker"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(near, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, client) // which shakes hands
		done <- err
	}()
	s := tls.Server(far, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12,
	})
	err = s.Handshake()
	server = s.ConnectionState()
	_ = far.Close()
	if clientErr := <-done; err == nil && clientErr != nil && !strings.Contains(clientErr.Error(), "EOF") {
		err = clientErr
	}
	return server, err
}

func TestKeysOfATPMShakeHands(t *testing.T) {
	socket := emulator(t)
	for _, tt := range []struct {
		name    string
		public  tpm2.Public
		version uint16
		tls13   bool
	}{
		{"RSA with TLS 1.3", rsaKey(nil, signs), tls.VersionTLS13, true},
		{"RSA with TLS 1.2", rsaKey(nil, signs), tls.VersionTLS12, true},
		{"RSA that is PSS alone", rsaKey(&tpm2.SigScheme{Alg: tpm2.AlgRSAPSS, Hash: tpm2.AlgSHA256}, signs), tls.VersionTLS13, true},
		{"RSA that is not PSS", rsaKey(&tpm2.SigScheme{Alg: tpm2.AlgRSASSA, Hash: tpm2.AlgSHA256}, signs), tls.VersionTLS12, false},
		{"ECDSA on P-256 with TLS 1.3", ecKey(tpm2.CurveNISTP256, nil), tls.VersionTLS13, true},
		{"ECDSA on P-256 with TLS 1.2", ecKey(tpm2.CurveNISTP256, &tpm2.SigScheme{Alg: tpm2.AlgECDSA, Hash: tpm2.AlgSHA256}), tls.VersionTLS12, true},
		{"ECDSA on P-384 with TLS 1.3", ecKey(tpm2.CurveNISTP384, nil), tls.VersionTLS13, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handle := tpmutil.Handle(0x81000001)
			keep(t, socket, handle, tt.public, "")
			t.Cleanup(func() {
				tpm, _ := tpmutil.OpenTPM(socket)
				_ = tpm2.EvictControl(tpm, "", tpm2.HandleOwner, handle, handle)
			})
			k, err := Load(socket, uint32(handle))
			if err != nil {
				t.Fatal(err)
			}
			cert, err := Certificate(certify(t, k.Public()), socket, uint32(handle))
			if err != nil {
				t.Fatal(err)
			}
			if TLS13(cert) != tt.tls13 {
				t.Errorf("TLS 1.3: %v; signatures: %v", TLS13(cert), cert.SupportedSignatureAlgorithms)
			}
			state, err := handshake(t, cert, tt.version)
			if err != nil {
				t.Fatal(err)
			}
			if state.Version != tt.version || len(state.PeerCertificates) != 1 || state.PeerCertificates[0].Subject.CommonName != "pi" {
				t.Errorf("version %x, certificates %v", state.Version, state.PeerCertificates)
			}
		})
	}
}

func TestWhatTheTPMRefusesIsExplained(t *testing.T) {
	socket := emulator(t)
	keep(t, socket, 0x81000001, ecKey(tpm2.CurveNISTP256, nil), "")
	keep(t, socket, 0x81000002, ecKey(tpm2.CurveNISTP256, nil), "secret")
	keep(t, socket, 0x81000003, rsaKey(nil, tpm2.FlagDecrypt|tpm2.FlagFixedTPM|tpm2.FlagFixedParent|tpm2.FlagSensitiveDataOrigin|tpm2.FlagUserWithAuth), "")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		do   func() error
		want string
	}{
		{"no key", func() error { _, err := Load(socket, 0x81000009); return err }, "no key is kept there"},
		{"no TPM", func() error { _, err := Load(filepath.Join(dir, "none"), 0x81000001); return err }, "no TPM 2.0"},
		{"no device", func() error { _, err := Load(dir, 0x81000001); return err }, "unsupported TPM file mode"},
		{"a key that is for encryption", func() error { _, err := Load(socket, 0x81000003); return err }, "may not sign"},
		{"a key of another certificate", func() error {
			_, err := Certificate(certify(t, &other.PublicKey), socket, 0x81000001)
			return err
		}, "do not fit together"},
		{"no certificate", func() error { _, err := Certificate(os.DevNull, socket, 0x81000001); return err }, "no certificate in PEM form"},
		{"a password", func() error {
			k, err := Load(socket, 0x81000002)
			if err != nil {
				return err
			}
			digest := sha256.Sum256(nil)
			_, err = k.Sign(nil, digest[:], crypto.SHA256)
			return err
		}, "it has a password"},
		{"a hash that TLS does not have", func() error {
			k, err := Load(socket, 0x81000001)
			if err != nil {
				return err
			}
			_, err = k.Sign(nil, make([]byte, 16), crypto.MD5)
			return err
		}, "is not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err == nil || !strings.Contains(hint.Line(err), tt.want) {
				t.Errorf("%v, want it to say %q", err, tt.want)
			}
		})
	}
	t.Run("the system has none", func(t *testing.T) {
		if _, err := os.Stat(devices[1]); err == nil {
			t.Skip("this machine has a TPM")
		}
		if _, err := Load("", 0x81000001); err == nil || !strings.Contains(hint.Of(err), "no TPM 2.0") {
			t.Error(err)
		}
	})
}

func TestSignaturesAreThoseOfTheKey(t *testing.T) {
	socket := emulator(t)
	keep(t, socket, 0x81000001, rsaKey(nil, signs), "")
	keep(t, socket, 0x81000002, ecKey(tpm2.CurveNISTP256, nil), "")
	digest := sha256.Sum256([]byte("what is signed"))
	for _, handle := range []uint32{0x81000001, 0x81000002} {
		k, err := Load(socket, handle)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		switch public := k.Public().(type) {
		case *rsa.PublicKey:
			if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
				t.Error(err)
			}
		case *ecdsa.PublicKey:
			if !ecdsa.VerifyASN1(public, digest[:], signature) {
				t.Error("the signature is not the key's")
			}
		}
	}
}
