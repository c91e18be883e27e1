package localproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are the settings of --settings-json that have an effect here.
type Settings struct {
	BindAddress       string            // default_bind_address: where -b is not given
	EndpointFormat    string            // endpoint_format, with %s for the region; "" is the partition's own
	RegionEndpoints   map[string]string // region_endpoint_overrides
	PingInterval      time.Duration     // websocket.ping_period_ms; 0 is the default
	ConnectRetries    int               // websocket.connect_retry_count: of failed connects in a row; -1: without limit
	ReconnectOnErrors bool              // websocket.reconnect_on_data_error
}

const settingsPrefix = "tunneling.proxy."

// knownSettings are the settings and defaults of the reference local proxy, with the reason why they have no
// effect here. Those without a reason have one.
var knownSettings = []struct{ name, value, gone string }{
	{"default_bind_address", "localhost", ""},
	{"message.data_length_size", "2", "the protocol fixes it"},
	{"message.data_frame_max_size", "65538", "the protocol fixes it"},
	{"message.max_payload_size", "64512", "the protocol fixes it"},
	{"message.max_size", "65536", "the protocol fixes it"},
	{"tcp.connection_retry_count", "5", "a target that refuses is reported at once"},
	{"tcp.connection_retry_delay_ms", "2500", "a target that refuses is reported at once"},
	{"tcp.read_buffer_size", "131076", "buffers find their size"},
	{"tcp.write_buffer_size", "131076", "buffers find their size"},
	{"tcp.max_active_connections", "128", "a service may have any number of connections"},
	{"websocket.ping_period_ms", "20000", ""},
	{"websocket.retry_delay_ms", "2500", "delays grow from 0.5 s to 60 s, at random"},
	{"websocket.connect_retry_count", "-1", ""},
	{"websocket.reconnect_on_data_error", "true", ""},
	{"websocket.subprotocol", "aws.iot.securetunneling-3.0", "all versions are offered; -y speaks to older destinations"},
	{"websocket.max_frame_size", "131076", "the protocol fixes it"},
	{"websocket.read_buffer_size", "131076", "buffers find their size"},
	{"websocket.write_buffer_size", "131076", "buffers find their size"},
}

// Pings rarer than maxPing would let the service's load balancer drop an idle websocket, which it does after 60 s.
const (
	minPing = time.Second
	maxPing = 50 * time.Second
)

func defaultSettings() Settings {
	return Settings{BindAddress: defaultBindHost, ConnectRetries: -1, ReconnectOnErrors: true}
}

// readSettings reads a file of --settings-json. warn is called with what has no effect.
func readSettings(path string, warn func(string)) (Settings, error) {
	s := defaultSettings()
	data, err := readSmall(path)
	if err != nil {
		return s, usagef("--settings-json: %w", err)
	}
	flat, err := flatten(data)
	if err != nil {
		return s, usagef("--settings-json: %s: %w", path, err)
	}
	for _, f := range flat {
		if err := s.set(f.name, f.value, warn); err != nil {
			return s, usagef("--settings-json: %s: %s: %w", path, f.name, err)
		}
	}
	return s, nil
}

type flatSetting struct{ name, value string }

// flatten makes dotted names of a JSON object. Values may be strings, as the reference local proxy writes all of
// them, or of their own type.
func flatten(data []byte) ([]flatSetting, error) {
	var root map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&root); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	var all []flatSetting
	var walk func(prefix string, object map[string]any)
	walk = func(prefix string, object map[string]any) {
		for name, v := range object {
			name = prefix + name
			switch v := v.(type) {
			case map[string]any:
				walk(name+".", v)
			case string:
				all = append(all, flatSetting{name, v})
			default:
				all = append(all, flatSetting{name, fmt.Sprint(v)})
			}
		}
	}
	walk("", root)
	slices.SortFunc(all, func(a, b flatSetting) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// set applies one setting.
func (s *Settings) set(name, value string, warn func(string)) error {
	key, ok := strings.CutPrefix(name, settingsPrefix)
	if !ok {
		warn("the setting " + name + " is unknown and has no effect")
		return nil
	}
	if region, ok := strings.CutPrefix(key, "region_endpoint_overrides."); ok {
		if s.RegionEndpoints == nil {
			s.RegionEndpoints = map[string]string{}
		}
		s.RegionEndpoints[region] = value
		return nil
	}
	var err error
	switch key {
	case "endpoint_format":
		if strings.Count(value, "%s") != 1 {
			return fmt.Errorf("%q: write %%s once, where the region belongs", value)
		}
		s.EndpointFormat = value
	case "default_bind_address":
		if s.BindAddress, err = bindHost(value); err != nil {
			return err
		}
	case "websocket.ping_period_ms":
		return s.setPing(value, warn)
	case "websocket.connect_retry_count":
		if s.ConnectRetries, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("%q is not a number: write how many connects may fail in a row, or -1", value)
		}
		s.ConnectRetries = max(s.ConnectRetries, -1)
	case "websocket.reconnect_on_data_error":
		word, err := readSwitch(value)
		if err != nil {
			return err
		}
		s.ReconnectOnErrors = word == "true"
	default:
		s.gone(key, value, warn)
	}
	return nil
}

func (s *Settings) setPing(value string, warn func(string)) error {
	ms, err := strconv.ParseInt(value, 10, 32)
	if err != nil || ms < 1 {
		return fmt.Errorf("%q is not a number of milliseconds", value)
	}
	asked := time.Duration(ms) * time.Millisecond
	s.PingInterval = min(max(asked, minPing), maxPing)
	if s.PingInterval != asked {
		warn(fmt.Sprintf("the setting %swebsocket.ping_period_ms is taken as %d: from %d to %d is sensible",
			settingsPrefix, s.PingInterval.Milliseconds(), minPing.Milliseconds(), maxPing.Milliseconds()))
	}
	return nil
}

// gone warns of a setting without effect, unless it only repeats the reference local proxy's default, as an
// exported file does.
func (s *Settings) gone(key, value string, warn func(string)) {
	for _, k := range knownSettings {
		if k.name != key {
			continue
		}
		if k.value != value {
			warn("the setting " + settingsPrefix + key + " has no effect: " + k.gone)
		}
		return
	}
	warn("the setting " + settingsPrefix + key + " is unknown and has no effect")
}

// ExportSettings writes the default settings to a file that --settings-json can read, in the reference local
// proxy's form: objects by the parts of the names, and strings as values.
func ExportSettings(path string) error {
	top, groups := map[string]any{}, map[string]map[string]any{}
	for _, k := range knownSettings {
		group, name, ok := strings.Cut(k.name, ".")
		if !ok {
			top[k.name] = k.value
			continue
		}
		if groups[group] == nil {
			groups[group] = map[string]any{}
			top[group] = groups[group]
		}
		groups[group][name] = k.value
	}
	data, err := json.MarshalIndent(map[string]any{"tunneling": map[string]any{"proxy": top}}, "", "    ")
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644) //nolint:gosec // defaults are for all users
	}
	if err != nil {
		return fmt.Errorf("--export-default-settings: %w", err)
	}
	return nil
}
