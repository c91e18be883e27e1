package localproxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// tlsConfig makes the TLS configuration of the tunnel: the system's roots, and those of capath.
func tlsConfig(capath string, noVerify bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: noVerify} //nolint:gosec // what -k means
	if capath == "" {
		return c, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // an image without roots
	}
	paths := []string{capath}
	directory, err := isDirectory(capath)
	if err == nil && directory {
		paths, err = files(capath)
	}
	if err != nil {
		return nil, err
	}
	found := false
	for _, path := range paths {
		data, err := readSmall(path)
		if err != nil {
			if !directory {
				return nil, err
			}
			continue
		}
		found = pool.AppendCertsFromPEM(data) || found
	}
	if !found {
		return nil, fmt.Errorf("%s has no certificate in PEM form: name a directory of them, or a file", capath)
	}
	c.RootCAs = pool
	return c, nil
}
