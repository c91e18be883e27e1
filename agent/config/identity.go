package config

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// tpmPrefix begins a reference to a key that a TPM keeps.
const tpmPrefix = "tpm:"

// TPMKey is a private key in a TPM 2.0.
type TPMKey struct {
	Device string // a character device or an emulator's unix socket; "" is the system's TPM
	Handle uint32 // of a persistent object; 0 is no key in a TPM
}

// keyFile reads a path, or "tpm:HANDLE", or "tpm:DEVICE:HANDLE".
func (d *decoder) keyFile(n *node) {
	rest, found := strings.CutPrefix(n.text, tpmPrefix)
	if n.kind != stringKind || !found {
		d.requiredPath(n, &d.cfg.MQTT.KeyFile)
		return
	}
	device, handle := "", rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		device, handle = rest[:i], rest[i+1:]
		if !strings.HasPrefix(device, "/") || strings.ContainsFunc(device, isControl) {
			d.doc.problem(n.value, `write "tpm:/dev/tpmrm0:0x81000001", or leave the device out`, "%s: %q is not a TPM's path", n.path, device)
			return
		}
	}
	// Persistent objects have handles of the type 0x81 (TPM 2.0 library, part 2, section 7.2).
	v, err := strconv.ParseUint(handle, 0, 32)
	if err != nil || v>>24 != 0x81 {
		d.doc.problem(n.value, `write "tpm:0x81000001", with the handle that tpm2_evictcontrol gave the key, 0x81000000 to 0x81ffffff`,
			"%s: %q is not the handle of a TPM's key", n.path, handle)
		return
	}
	d.cfg.MQTT.TPMKey = TPMKey{device, uint32(v)}
}

func (d *decoder) mqttEnabled(n *node) {
	enabled := true
	d.boolean(n, &enabled)
	d.cfg.MQTT.Disabled = !enabled
}

// authorizer reads the name of a custom authorizer.
func (d *decoder) authorizer(n *node) {
	s, ok := d.str(n)
	if !ok {
		return
	}
	// AWS IoT API, CreateAuthorizer: authorizerName.
	if len(s) > 128 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=,@-") != "" {
		d.doc.problem(n.value, `AWS IoT allows 1 to 128 letters, digits, "_", "=", ",", "@" and "-"`, "mqtt.authorizer: %q is not an authorizer's name", s)
		return
	}
	d.cfg.MQTT.Authorizer = s
}

// username reads what the broker or an authorizer gets.
func (d *decoder) username(n *node) {
	s, ok := d.str(n)
	switch {
	case !ok:
	case strings.ContainsFunc(s, isControl):
		d.doc.problem(n.value, "use visible characters only", "mqtt.username %q has a control character", s)
	case strings.Contains(s, "?"):
		d.doc.problem(n.value, "write the authorizer's name in mqtt.authorizer, and its token in mqtt.authorizer_token_file",
			"mqtt.username has a %q in it, after which AWS IoT reads parameters", "?")
	default:
		d.cfg.MQTT.Username = s
	}
}

// identify completes what depends on several keys: whether the device shows a certificate or a user name.
func (d *decoder) identify() {
	m := &d.cfg.MQTT
	table := d.doc.root.child("mqtt")
	if table == nil || table.kind != tableKind {
		return
	}
	if n := table.child("authorizer_token_file"); n != nil && n.text != "" && m.Authorizer == "" && table.child("authorizer") == nil {
		d.doc.problem(n.key, `write authorizer = "…", its name, or remove this`, "mqtt.authorizer_token_file is for a custom authorizer, and mqtt.authorizer is missing")
	}
	// Custom authorizers are asked on 443 alone, unless the account says otherwise (AWS IoT developer guide, device
	// communication protocols).
	if m.Authorizer != "" && m.Port == defaultPortUnset {
		m.Port = alpnPort
	}
	if m.Port == defaultPortUnset {
		m.Port = DefaultMQTTPort
	}
}

// identified reports whether the device authenticates without a certificate.
func (d *decoder) identified(table *node) bool {
	for _, key := range []string{"authorizer", "username", "password_file"} {
		if n := table.child(key); n != nil && n.text != "" {
			return true
		}
	}
	return false
}

// ByName reports whether the device authenticates by a user name or an authorizer's token.
func (m MQTT) ByName() bool { return m.Authorizer != "" || m.Username != "" || m.PasswordFile != "" }

// Login reads what CONNECT carries: the user name with an authorizer's parameters, and the password. Both are secret.
// Its errors name the file and carry hints.
func (m MQTT) Login() (username, password string, err error) {
	username = m.Username
	if m.Authorizer != "" {
		// AWS IoT developer guide, connecting to AWS IoT Core by using custom authentication.
		username += "?x-amz-customauthorizer-name=" + m.Authorizer
	}
	if m.TokenFile != "" {
		token, err := readSecret("mqtt.authorizer_token_file", m.TokenFile)
		if err != nil {
			return "", "", err
		}
		if !strings.Contains(token, "=") || strings.ContainsAny(token, " \n?") {
			return "", "", hint.Wrap(fmt.Errorf("mqtt.authorizer_token_file: %s is not what follows the name of an authorizer", m.TokenFile),
				"write KEY=TOKEN&x-amz-customauthorizer-signature=SIGNATURE into it, URL-encoded, on one line")
		}
		username += "&" + token
	}
	if m.PasswordFile != "" {
		if password, err = readSecret("mqtt.password_file", m.PasswordFile); err != nil {
			return "", "", err
		}
	}
	return username, password, nil
}

// maxSecret is what fits into a CONNECT's field (MQTT 3.1.1, section 1.5.3).
const maxSecret = 65535

// readSecret reads a file without the end of its last line.
func readSecret(key, path string) (string, error) {
	data, err := os.ReadFile(path) // the path is the operator's own
	if err != nil {
		return "", fileError(key, path, err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case text == "":
		return "", hint.Wrap(fmt.Errorf("%s: %s is empty", key, path), "copy the file again")
	case len(text) > maxSecret:
		return "", hint.Wrap(fmt.Errorf("%s: %s has %d bytes, more than the %d that MQTT carries", key, path, len(text), maxSecret), "check the path")
	}
	return text, nil
}
