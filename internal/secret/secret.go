package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"unique"
)

// Value is a string that does not print itself. The zero value is an absent secret.
// Values compare equal when their contents do.
//
// The content sits behind a handle, not in the struct: package fmt cannot call Format on an unexported
// field of another struct and prints its bare fields instead, which here are a pointer.
type Value struct{ h unique.Handle[string] }

// New wraps s.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{unique.Make(s)}
}

// Reveal returns the content. Call it only where the secret leaves for the service or for its file.
func (v Value) Reveal() string {
	if v.IsZero() {
		return ""
	}
	return v.h.Value()
}

// IsZero reports whether there is no secret.
func (v Value) IsZero() bool { return v == Value{} }

// Fingerprint is the SHA-256 of the content: the key under which a token is known.
func (v Value) Fingerprint() [sha256.Size]byte { return sha256.Sum256([]byte(v.Reveal())) }

// ID is the first 8 hex digits of the fingerprint, for logs and status.
func (v Value) ID() string {
	f := v.Fingerprint()
	return hex.EncodeToString(f[:4])
}

func (v Value) redacted() string {
	if v.IsZero() {
		return "[none]"
	}
	return "[secret " + v.ID() + "]"
}

// Format redacts under every verb of package fmt.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(v.redacted())) }

// String redacts.
func (v Value) String() string { return v.redacted() }

// LogValue redacts under log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.redacted()) }

// MarshalText redacts in JSON, TOML and whatever else marshals by text.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.redacted()), nil }
