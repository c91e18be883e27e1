package session

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/services"
)

// pairVersion is the version of the state file's form. Raise it when an older daemon must not read it.
const pairVersion = 1

// fingerprint is the SHA-256 of an access token.
type fingerprint [32]byte

func (f fingerprint) String() string { return hex.EncodeToString(f[:]) }

// pair is what a session must not lose: with both tokens a connection can be made again, with one of
// them never (protocol guide, "client token"). A pair is a value; it is replaced, not changed.
type pair struct {
	access   secret.Value
	client   secret.Value
	thing    string // "": not known
	region   string
	services []string
	received time.Time
	worked   bool // a handshake has succeeded
}

func (p pair) key() fingerprint { return p.access.Fingerprint() }

// pairFile is the state file's form.
type pairFile struct {
	Version     int       `json:"version"`
	AccessToken string    `json:"access_token"`
	ClientToken string    `json:"client_token"`
	Thing       string    `json:"thing,omitempty"`
	Region      string    `json:"region"`
	Services    []string  `json:"services"`
	Received    time.Time `json:"received"`
	Worked      bool      `json:"worked"`
}

func (p pair) encode() ([]byte, error) {
	return json.Marshal(pairFile{
		Version: pairVersion, AccessToken: p.access.Reveal(), ClientToken: p.client.Reveal(),
		Thing: p.thing, Region: p.region, Services: p.services, Received: p.received.Round(0), Worked: p.worked,
	})
}

// isRegion and isClientToken are for the forms [a-z0-9-]{1,64} and [a-zA-Z0-9-]{32,128}. Package regexp would cost each
// start 144 KB, and the daemon as much again of its size.
func isRegion(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && only(s, false)
}

func isClientToken(s string) bool {
	return len(s) >= 32 && len(s) <= 128 && only(s, true)
}

// only reports whether s holds nothing but a-z, 0-9, "-" and, if capitals are allowed, A-Z.
func only(s string, capitals bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', capitals && 'A' <= c && c <= 'Z':
		default:
			return false
		}
	}
	return true
}

// decodePair reads a state file. What it returns could have come from a notification: nothing that a
// notification would be refused for gets in by this way. Its errors hold no token.
func decodePair(data []byte) (pair, error) {
	var f pairFile
	if err := decodeVersioned(data, pairVersion, &f); err != nil {
		return pair{}, err
	}
	if n := len(f.AccessToken); n < 1 || n > 4096 || !isGraphic(f.AccessToken) {
		return pair{}, errors.New("access_token is not 1 to 4096 printable characters")
	}
	if !isClientToken(f.ClientToken) {
		return pair{}, errors.New("client_token is not 32 to 128 of a-z, A-Z, 0-9 and -")
	}
	if !isRegion(f.Region) {
		return pair{}, errors.New("region is not 1 to 64 of a-z, 0-9 and -")
	}
	for _, s := range f.Services {
		if !services.ValidName(s) {
			return pair{}, errors.New("services holds a name that is not 1 to 128 of a-z, A-Z, 0-9, :, _ and -")
		}
	}
	return pair{
		access: secret.New(f.AccessToken), client: secret.New(f.ClientToken),
		thing: f.Thing, region: f.Region, services: f.Services, received: f.Received, worked: f.Worked,
	}, nil
}

// decodeVersioned unmarshals a JSON object whose version member must be want.
func decodeVersioned(data []byte, want int, into any) error {
	var v struct{ Version int }
	if err := json.Unmarshal(data, &v); err != nil {
		return errors.New("it is not a JSON object of culvertd") // err may quote the content
	}
	if v.Version > want {
		return fmt.Errorf("its version is %d, written by a newer culvertd; this one knows %d", v.Version, want)
	}
	if v.Version != want {
		return fmt.Errorf("its version is %d, not %d", v.Version, want)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("it holds a member of an unknown name or a wrong type")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// isGraphic reports whether s is ASCII without spaces and control characters.
func isGraphic(s string) bool {
	for _, c := range []byte(s) {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
}
