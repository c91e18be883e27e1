package sandbox

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestTheDataPlaneIsWhereDescribeEndpointSays follows the way of an operator's program, and AWS CLI's with one endpoint for all.
func TestTheDataPlaneIsWhereDescribeEndpointSays(t *testing.T) {
	s := start(t, Config{AllowUnsigned: true})
	connect(t, s, "pi-1")
	get := func(url string) (int, map[string]any) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12},
		}}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out
	}
	_, endpoint := get(s.APIURL + "/endpoint?endpointType=iot:Data-ATS")
	address, _ := endpoint["endpointAddress"].(string)
	id := s.Broker.Clients()[0].ID
	for _, base := range []string{"https://" + address, s.APIURL} {
		if status, out := get(base + "/connections/" + id); status != http.StatusOK || out["connected"] != true || out["thingName"] != "pi-1" {
			t.Errorf("GetConnection at %s: %d %v", base, status, out)
		}
	}
	if _, err := s.changeBehaviour([]byte(`{"DataPlane":{"Denied":["GetConnection"]}}`)); err != nil {
		t.Fatal(err)
	}
	if status, out := get("https://" + address + "/connections/" + id); status != http.StatusForbidden {
		t.Errorf("denied: %d %v", status, out)
	}
	if _, err := s.changeBehaviour([]byte(`{"DataPlane":{"Denied":["Nothing"]}}`)); err == nil || !strings.Contains(err.Error(), "GetConnection") {
		t.Errorf("an operation that does not exist: %v", err)
	}
}
