package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
)

// MaxPayload is the longest notification that is looked at, in bytes. A real one has below 1 KiB.
const MaxPayload = 16 << 10

const (
	maxToken    = 4096
	maxRegion   = 64
	maxService  = 128
	maxServices = 64 // AWS sends up to 3; the quota is adjustable
)

// Notification is what AWS IoT tells a device about a tunnel: the four members that the "configure a
// remote device" page of the AWS IoT developer guide lists. There is no tunnel id and no time in it.
type Notification struct {
	AccessToken secret.Value // the destination's client access token
	Region      string       // of the tunnel, not always that of the MQTT endpoint; goes into a host name
	Services    []string     // in the order received, each once; nil for a tunnel without services
	Received    time.Time    // when Decode ran
}

// Decode reads a notification and checks every field, since any publisher can write it: the size is
// at most MaxPayload, clientMode is "destination", the token has 1 to 4,096 printable ASCII characters
// without spaces, the region matches ^[a-z0-9-]{1,64}$ and each service ^[a-zA-Z0-9:_-]{1,128}$. Unknown
// members are ignored; of a repeated one the last counts; services may be absent, null or empty.
//
// Its errors name the field and the rule, and repeat nothing of the payload.
func Decode(payload []byte) (Notification, error) {
	if len(payload) > MaxPayload {
		return Notification{}, fmt.Errorf("notification has %d bytes, more than the %d allowed", len(payload), MaxPayload)
	}
	// A map, because a struct would take members whose names differ in case.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil || members == nil {
		if bytes.HasPrefix(payload, []byte("$aws/")) {
			return Notification{}, errors.New("notification begins with its topic, as mosquitto_sub -v prints it: leave -v out")
		}
		return Notification{}, errors.New("notification is not one JSON object")
	}
	mode, err := text(members, "clientMode")
	if err != nil {
		return Notification{}, err
	}
	if mode != "destination" {
		return Notification{}, errors.New(`clientMode is not "destination": the notification is not for the device's side of a tunnel`)
	}
	token, err := text(members, "clientAccessToken")
	if err != nil {
		return Notification{}, err
	}
	if !matches(token, maxToken, isPrintable) {
		return Notification{}, fmt.Errorf("clientAccessToken is not 1 to %d printable characters", maxToken)
	}
	region, err := text(members, "region")
	if err != nil {
		return Notification{}, err
	}
	if !matches(region, maxRegion, isRegion) {
		return Notification{}, fmt.Errorf("region is not 1 to %d characters of a-z, 0-9 and -", maxRegion)
	}
	services, err := serviceList(members["services"])
	if err != nil {
		return Notification{}, err
	}
	return Notification{AccessToken: secret.New(token), Region: region, Services: services, Received: time.Now()}, nil
}

func text(members map[string]json.RawMessage, name string) (string, error) {
	raw, ok := members[name]
	if !ok {
		return "", errors.New(name + " is missing")
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", errors.New(name + " is not a string")
	}
	return *s, nil
}

func serviceList(raw json.RawMessage) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("services is not an array of strings")
	}
	if len(list) > maxServices {
		return nil, fmt.Errorf("services has %d entries, more than the %d allowed", len(list), maxServices)
	}
	var services []string
	for i, s := range list {
		if s == nil || !matches(*s, maxService, isService) {
			return nil, fmt.Errorf("services[%d] is not 1 to %d characters of a-z, A-Z, 0-9, :, _ and -", i, maxService)
		}
		if !slices.Contains(services, *s) {
			services = append(services, *s)
		}
	}
	return services, nil
}

func matches(s string, limit int, allowed func(byte) bool) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}

// isPrintable leaves the space out: the token becomes a header's value, whose ends HTTP trims.
func isPrintable(c byte) bool { return c > ' ' && c <= '~' }

func isRegion(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
}

func isService(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == ':' || c == '_' || c == '-'
}
