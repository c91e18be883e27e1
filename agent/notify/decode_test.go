package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const secretToken = "AQGAAXh-THE_TOKEN~1"

func payload(tb testing.TB, changes map[string]any) []byte {
	tb.Helper()
	m := map[string]any{"clientAccessToken": secretToken, "clientMode": "destination", "region": "eu-west-1", "services": []string{"SSH"}}
	for k, v := range changes {
		if v == absent {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

const absent = "(absent)"

func TestDecodeAcceptsWhatAWSSends(t *testing.T) {
	for _, c := range []struct {
		name     string
		payload  []byte
		region   string
		services []string
	}{
		{"one service", payload(t, nil), "eu-west-1", []string{"SSH"}},
		{"three services keep their order", payload(t, map[string]any{"services": []string{"VNC", "SSH", "HTTP"}}), "eu-west-1", []string{"VNC", "SSH", "HTTP"}},
		{"more than three services", payload(t, map[string]any{"services": []string{"a", "b", "c", "d", "e"}}), "eu-west-1", []string{"a", "b", "c", "d", "e"}},
		{"case counts in services", payload(t, map[string]any{"services": []string{"ssh", "SSH"}}), "eu-west-1", []string{"ssh", "SSH"}},
		{"a repeated service counts once", payload(t, map[string]any{"services": []string{"a", "b", "a", "a"}}), "eu-west-1", []string{"a", "b"}},
		{"all characters of a service", payload(t, map[string]any{"services": []string{"aZ09:_-"}}), "eu-west-1", []string{"aZ09:_-"}},
		{"64 services", payload(t, map[string]any{"services": names(64)}), "eu-west-1", names(64)},
		{"no services member", payload(t, map[string]any{"services": absent}), "eu-west-1", nil},
		{"empty services", payload(t, map[string]any{"services": []string{}}), "eu-west-1", nil},
		{"null services", payload(t, map[string]any{"services": nil}), "eu-west-1", nil},
		{"unknown members", payload(t, map[string]any{"tunnelId": "x", "more": map[string]any{"clientMode": "source"}}), "eu-west-1", []string{"SSH"}},
		{"members that differ in case are unknown ones", payload(t, map[string]any{"ClientMode": "source", "REGION": 7}), "eu-west-1", []string{"SSH"}},
		{"another region", payload(t, map[string]any{"region": "us-gov-east-1"}), "us-gov-east-1", []string{"SSH"}},
		{"white space around", []byte(" \n" + string(payload(t, nil)) + "\r\n "), "eu-west-1", []string{"SSH"}},
		{"of a repeated member the last counts", []byte(`{"region":"a","region":"b","clientMode":"source","clientMode":"destination","clientAccessToken":"` + secretToken + `"}`), "b", nil},
		{"escapes in strings", []byte(`{"region":"eu\u002dwest-1","clientMode":"destination","clientAccessToken":"` + secretToken + `"}`), "eu-west-1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Decode(c.payload)
			if err != nil {
				t.Fatal(err)
			}
			if n.AccessToken.Reveal() != secretToken || n.Region != c.region || n.Received.IsZero() {
				t.Errorf("got %+v", n)
			}
			if diff := cmp.Diff(c.services, n.Services); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
		})
	}
	long := strings.Repeat("x", 4096)
	if n, err := Decode(payload(t, map[string]any{"clientAccessToken": long})); err != nil || n.AccessToken.Reveal() != long {
		t.Errorf("a token of 4,096 characters: %v", err)
	}
}

func names(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("s", i)
	}
	return list
}

func TestDecodeRefusesHostileInput(t *testing.T) {
	full := payload(t, nil)
	for _, c := range []struct {
		name    string
		payload []byte
		want    string
	}{
		{"empty", nil, "not one JSON object"},
		{"not JSON", []byte("hello " + secretToken), "not one JSON object"},
		{"null", []byte("null"), "not one JSON object"},
		{"an array", []byte("[" + string(full) + "]"), "not one JSON object"},
		{"a string", []byte(`"` + secretToken + `"`), "not one JSON object"},
		{"cut short", full[:len(full)-1], "not one JSON object"},
		{"garbage behind", append(append([]byte{}, full...), '}'), "not one JSON object"},
		{"two objects", append(append([]byte{}, full...), full...), "not one JSON object"},
		{"a zero byte behind", append(append([]byte{}, full...), 0), "not one JSON object"},
		{"nested 8,000 deep", []byte(strings.Repeat("[", 8000) + strings.Repeat("]", 8000)), "not one JSON object"},
		{"nested deep in an unknown member", []byte(`{"x":` + strings.Repeat("[", 8000) + strings.Repeat("]", 8000) + `}`), "clientMode is missing"},
		{"16 KiB and a byte", payload(t, map[string]any{"x": strings.Repeat("x", MaxPayload)}), "more than the 16384 allowed"},
		{"a line of mosquitto_sub -v", []byte("$aws/things/pi-42/tunnels/notify " + string(payload(t, nil))), "begins with its topic, as mosquitto_sub -v prints it: leave -v out"},
		{"no mode", payload(t, map[string]any{"clientMode": absent}), "clientMode is missing"},
		{"source mode", payload(t, map[string]any{"clientMode": "source"}), `clientMode is not "destination"`},
		{"mode in capitals", payload(t, map[string]any{"clientMode": "DESTINATION"}), `clientMode is not "destination"`},
		{"mode null", payload(t, map[string]any{"clientMode": nil}), "clientMode is not a string"},
		{"no token", payload(t, map[string]any{"clientAccessToken": absent}), "clientAccessToken is missing"},
		{"empty token", payload(t, map[string]any{"clientAccessToken": ""}), "clientAccessToken is not 1 to"},
		{"token a number", payload(t, map[string]any{"clientAccessToken": 77712345}), "clientAccessToken is not a string"},
		{"token an object", payload(t, map[string]any{"clientAccessToken": map[string]string{"x": secretToken}}), "clientAccessToken is not a string"},
		{"token of 4,097 characters", payload(t, map[string]any{"clientAccessToken": strings.Repeat("x", 4097)}), "clientAccessToken is not 1 to 4096"},
		{"token with a line break", payload(t, map[string]any{"clientAccessToken": secretToken + "\r\nHost: evil"}), "clientAccessToken is not 1 to"},
		{"token with a space", payload(t, map[string]any{"clientAccessToken": secretToken + " x"}), "clientAccessToken is not 1 to"},
		{"token beyond ASCII", payload(t, map[string]any{"clientAccessToken": secretToken + "é"}), "clientAccessToken is not 1 to"},
		{"token of bytes that are no UTF-8", []byte("{\"clientMode\":\"destination\",\"region\":\"a\",\"clientAccessToken\":\"\xff\xfe\"}"), "clientAccessToken is not 1 to"},
		{"no region", payload(t, map[string]any{"region": absent}), "region is missing"},
		{"empty region", payload(t, map[string]any{"region": ""}), "region is not 1 to"},
		{"region that leads elsewhere", payload(t, map[string]any{"region": "evil.example/"}), "region is not 1 to"},
		{"region with a user", payload(t, map[string]any{"region": "a@evil"}), "region is not 1 to"},
		{"region in capitals", payload(t, map[string]any{"region": "EU-WEST-1"}), "region is not 1 to"},
		{"region of 65 characters", payload(t, map[string]any{"region": strings.Repeat("a", 65)}), "region is not 1 to 64"},
		{"region with a line break", payload(t, map[string]any{"region": "eu-west-1\n"}), "region is not 1 to"},
		{"services a string", payload(t, map[string]any{"services": "SSH"}), "services is not an array of strings"},
		{"services an object", payload(t, map[string]any{"services": map[string]any{"SSH": 22}}), "services is not an array of strings"},
		{"a service that is a number", payload(t, map[string]any{"services": []any{"SSH", 22}}), "services is not an array of strings"},
		{"a service that is null", payload(t, map[string]any{"services": []any{"SSH", nil}}), "services[1] is not"},
		{"an empty service", payload(t, map[string]any{"services": []string{""}}), "services[0] is not"},
		{"a service with a blank", payload(t, map[string]any{"services": []string{"S H"}}), "services[0] is not"},
		{"a service of 129 characters", payload(t, map[string]any{"services": []string{strings.Repeat("s", 129)}}), "services[0] is not 1 to 128"},
		{"65 services", payload(t, map[string]any{"services": names(65)}), "services has 65 entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Decode(c.payload)
			if err == nil {
				t.Fatalf("accepted: %+v", n)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %q, want %q in it", err, c.want)
			}
			for _, shown := range []string{"TOKEN", "777", "evil", "Host"} {
				if strings.Contains(err.Error(), shown) {
					t.Errorf("the error repeats the payload: %v", err)
				}
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(payload(f, nil))
	f.Add(payload(f, map[string]any{"services": absent}))
	f.Add(payload(f, map[string]any{"services": []any{"a", nil, 7, "a"}}))
	f.Add(payload(f, map[string]any{"region": "a.b"}))
	f.Add([]byte(`{"clientMode":"destination","clientMode":"source"}`))
	f.Add([]byte(`{"clientAccessToken":"\u0000","clientMode":"destination","region":"a"}{}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Decode(data)
		if err != nil {
			if s := err.Error(); len(s) > 150 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("error = %q", s)
			}
			return
		}
		if !matches(n.AccessToken.Reveal(), 4096, isPrintable) || !matches(n.Region, 64, isRegion) || len(n.Services) > 64 {
			t.Errorf("accepted %+v", n)
		}
		for i, s := range n.Services {
			if !matches(s, 128, isService) {
				t.Errorf("accepted service %q", s)
			}
			for _, earlier := range n.Services[:i] {
				if earlier == s {
					t.Errorf("service %q twice", s)
				}
			}
		}
		// What was accepted is still accepted when written anew, with the same meaning.
		again, err := json.Marshal(map[string]any{
			"clientAccessToken": n.AccessToken.Reveal(), "clientMode": "destination", "region": n.Region, "services": n.Services,
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(again)
		if err != nil {
			t.Fatalf("refused when written anew: %v", err)
		}
		m.Received = n.Received
		if diff := cmp.Diff(fmt.Sprintf("%+v", n), fmt.Sprintf("%+v", m)); diff != "" {
			t.Error(diff)
		}
	})
}
