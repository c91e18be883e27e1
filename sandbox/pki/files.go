package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names of the authority's files in its directory; no thing's files can have these. The certificate is public, the key
// has mode 0600.
const (
	CAFile    = "ca.pem"
	CAKeyFile = "ca-key.pem"
)

// Open returns the authority kept in dir, or makes one and writes it there. Half of a pair, or a pair that does not
// fit together, is an error and not overwritten: devices may still hold certificates of that root.
func Open(dir, name string) (*Authority, error) {
	certFile, keyFile := filepath.Join(dir, CAFile), filepath.Join(dir, CAKeyFile)
	pair, err := loadPair(certFile, keyFile)
	switch {
	case err == nil:
		key, ok := pair.PrivateKey.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%s: no signing key", keyFile)
		}
		a, err := parseAuthority(pair.Certificate[0], key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", certFile, err)
		}
		if !a.cert.IsCA || time.Now().After(a.cert.NotAfter) {
			return nil, fmt.Errorf("%s: no certificate authority, or an expired one; remove it and %s to get a new one", certFile, CAKeyFile)
		}
		return a, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("certificate authority: %w; remove both files to get a new one", err)
	}
	a, err := New(name)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(a.key)
	if err != nil {
		return nil, err
	}
	if err := writePair(certFile, a.pem, keyFile, keyPEM); err != nil {
		return nil, err
	}
	return a, nil
}

// DeviceFiles are the paths that OpenDevice uses for a thing in dir. A colon, legal in a thing's name and awkward in
// a file's, is written as %3A.
func DeviceFiles(dir, thing string) (certFile, keyFile string) {
	base := filepath.Join(dir, strings.ReplaceAll(thing, ":", "%3A"))
	return base + ".pem.crt", base + ".pem.key"
}

// OpenDevice returns the thing's certificate kept in dir if a signed it and it is still good, else makes a new one and
// writes it there, the key with mode 0600.
func (a *Authority) OpenDevice(dir, thing string) (Device, error) {
	certFile, keyFile := DeviceFiles(dir, thing)
	if ValidThing(thing) && a.verify(certFile, keyFile, thing) == nil {
		cert, err := os.ReadFile(certFile)
		if err != nil {
			return Device{}, err
		}
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return Device{}, err
		}
		return Device{Thing: thing, CertPEM: cert, KeyPEM: key}, nil
	}
	d, err := a.Device(thing)
	if err != nil {
		return Device{}, err
	}
	return d, writePair(certFile, d.CertPEM, keyFile, d.KeyPEM)
}

// ServerFiles writes a new server certificate (see Server) and its key into dir, for a server that is another program.
func (a *Authority) ServerFiles(dir string, names ...string) (certFile, keyFile string, err error) {
	pair, err := a.Server(names...)
	if err != nil {
		return "", "", err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return "", "", errors.New("server certificate without a signing key")
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(dir, "server-cert.pem"), filepath.Join(dir, "server-key.pem")
	return certFile, keyFile, writePair(certFile, encodeCertificate(pair.Certificate[0]), keyFile, keyPEM)
}

func (a *Authority) verify(certFile, keyFile, thing string) error {
	pair, err := loadPair(certFile, keyFile)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots:     a.Pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return err
	}
	if name, err := Thing(cert); err != nil || name != thing {
		return fmt.Errorf("%s is not of thing %s", certFile, thing)
	}
	return nil
}

// loadPair is tls.LoadX509KeyPair, but for two missing files it says fs.ErrNotExist, and for one it does not.
func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return tls.Certificate{}, certErr
	case certErr != nil || keyErr != nil:
		// Not wrapped: a single missing file must not look like two.
		return tls.Certificate{}, fmt.Errorf("%s and %s belong together: %s", certFile, keyFile, errors.Join(certErr, keyErr).Error())
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// writePair writes the key first: a run that dies in between leaves a key without certificate, which is noticed.
func writePair(certFile string, cert []byte, keyFile string, key []byte) error {
	if err := writeFile(keyFile, key, 0o600); err != nil {
		return err
	}
	return writeFile(certFile, cert, 0o644)
}

// writeFile replaces a file as a whole. It is created with mode 0600 and only then given a wider one.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
