// Package secret holds values that must never be shown: client access tokens and client tokens.
//
// It knows nothing of what a secret opens. A Value prints, logs and marshals as a short fingerprint,
// so that two log lines about one token can be matched without either of them giving it away.
package secret
