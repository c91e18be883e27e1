package config

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/services"
)

// reloadable are the fields that a running daemon takes over.
var reloadable = map[string]bool{
	"Services": true, "Log.Level": true, "Tunnel.MaxTunnels": true, "Tunnel.IdleTimeout": true, "Tunnel.ConnectTimeout": true,
	"Tunnel.Regions": true, "Hooks.Command": true, "Hooks.Timeout": true, "Hooks.Events": true,
	"Path": true, // not a key: the daemon reads the file it was started with
}

func TestEveryFieldIsEitherReloadableOrNamed(t *testing.T) {
	base := mustParse(t, minimal)
	if keys := base.RestartNeeded(mustParse(t, minimal)); len(keys) > 0 {
		t.Errorf("no change, yet %v", keys)
	}
	named := make(map[string]string)
	var visit func(index []int, name string, typ reflect.Type)
	visit = func(index []int, name string, typ reflect.Type) {
		if typ.Kind() == reflect.Struct {
			for i := range typ.NumField() {
				f := typ.Field(i)
				inner := strings.TrimPrefix(name+"."+f.Name, ".")
				if f.Anonymous {
					inner = name
				}
				visit(append(append([]int{}, index...), i), inner, f.Type)
			}
			return
		}
		next := mustParse(t, minimal)
		change(t, reflect.ValueOf(next).Elem().FieldByIndex(index))
		keys := base.RestartNeeded(next)
		switch {
		case reloadable[name] && len(keys) > 0:
			t.Errorf("%s is reloadable, yet %v", name, keys)
		case !reloadable[name] && len(keys) != 1:
			t.Errorf("a change of %s gives %v", name, keys)
		case !reloadable[name]:
			named[name] = keys[0]
		}
	}
	visit(nil, "", reflect.TypeFor[Config]())
	want := map[string]string{
		"ThingName": "thing_name", "MQTT.Disabled": "mqtt.enabled", "MQTT.Endpoint": "mqtt.endpoint", "MQTT.Port": "mqtt.endpoint", "MQTT.ClientID": "mqtt.client_id",
		"MQTT.CAFile": "mqtt.ca_file", "MQTT.CertFile": "mqtt.cert_file", "MQTT.KeyFile": "mqtt.key_file", "MQTT.TPMKey.Device": "mqtt.key_file", "MQTT.TPMKey.Handle": "mqtt.key_file",
		"MQTT.Username": "mqtt.username", "MQTT.PasswordFile": "mqtt.password_file", "MQTT.Authorizer": "mqtt.authorizer",
		"MQTT.TokenFile": "mqtt.authorizer_token_file", "MQTT.KeepAlive": "mqtt.keep_alive",
		"MQTT.PersistentSession": "mqtt.persistent_session", "MQTT.AnswerPings": "mqtt.answer_pings", "Tunnel.Endpoint": "tunnel.endpoint", "Tunnel.CAFile": "tunnel.ca_file",
		"Tunnel.StateDir": "tunnel.state_dir", "Tunnel.ResumeTimeout": "tunnel.resume_timeout", "Log.Format": "log.format",
		"Control.Socket": "control.socket", "Control.Group": "control.group", "Metrics.Listen": "metrics.listen",
	}
	if diff := cmp.Diff(want, named); diff != "" {
		t.Error(diff)
	}
}

func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p += "x"
	case *int:
		*p++
	case *bool:
		*p = !*p
	case *time.Duration:
		*p++
	case *slog.Level:
		*p++
	case *[]string:
		*p = append(*p, "x")
	case *uint32:
		*p++
	case *[]services.Service:
		*p = append(*p, services.Service{})
	default:
		t.Fatalf("a field of type %T: say in RestartNeeded and here what its change means", p)
	}
}
