package doctor

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// device is AWS IoT's view of a device: the first look sees it connected for
// 10 s, by synctest's clock, which begins at 946684800 s.
type device struct {
	then          string // the answer to the next looks, if it is another
	subscriptions int    // status of that call
	message       int    // status of the ping's call

	looks int
	asked []string
}

func (d *device) Do(r *http.Request) (*http.Response, error) {
	missing := func(status int, body string) (*http.Response, error) {
		resp, err := answered(status, body)
		if status == http.StatusNotFound {
			resp.Header.Set("X-Amzn-Errortype", "ResourceNotFoundException")
		}
		return resp, err
	}
	switch r.URL.Path {
	case "/endpoint":
		return answered(http.StatusOK, `{"endpointAddress":"data.example"}`)
	case "/connections/pi-1-tunnel":
		if d.looks++; d.looks > 1 && d.then != "" {
			return answered(http.StatusOK, d.then)
		}
		return answered(http.StatusOK, `{"connected":true,"connectedSince":946684790000,"thingName":"pi-1"}`)
	case "/connections/pi-1-tunnel/subscriptions":
		d.asked = append(d.asked, "subscriptions")
		return missing(d.subscriptions, `{"subscriptions":[{"topicFilter":"$aws/things/pi-1/tunnels/notify"}]}`)
	case "/connections/pi-1-tunnel/messages":
		d.asked = append(d.asked, "ping")
		return missing(d.message, `{"message":"no such client"}`)
	}
	return answered(http.StatusForbidden, "{}")
}

// A device that leaves while the doctor looks at it is no second client, and AWS's error for it is no fault.
func TestADeviceLeavesWhileItIsLookedAt(t *testing.T) {
	const left = `{"connected":false,"disconnectedSince":946684800000,"disconnectReason":"CLIENT_INITIATED_DISCONNECT"}`
	const replaced = `{"connected":true,"connectedSince":946684800500}`
	const between = `{"connected":false,"disconnectedSince":946684800500,"disconnectReason":"DUPLICATE_CLIENTID"}`
	for name, tt := range map[string]struct {
		device
		want  []Result // the last ones of these ids
		calls string
	}{
		"it has left again": {device{then: left, subscriptions: 200, message: 404}, []Result{
			{ID: "connection", Status: Failed, Text: "pi-1-tunnel connected and has left again, CLIENT_INITIATED_DISCONNECT", Remedy: "culvertd was stopped"},
			{ID: "subscription", Status: Skipped, Text: "not connected"},
			{ID: "answer", Status: Skipped, Text: "not connected"},
		}, ""},
		"another client replaced it": {device{then: replaced, subscriptions: 200, message: 200}, []Result{
			{ID: "connection", Status: OK},
			{ID: "client_id", Status: Warning, Text: "replaced within", Remedy: "second client"},
			{ID: "subscription", Status: OK},
			{ID: "answer", Status: OK},
		}, "subscriptions ping"},
		"another client is just replacing it": {device{then: between, subscriptions: 200, message: 200}, []Result{
			{ID: "client_id", Status: Warning, Text: "replaced within", Remedy: "second client"},
			{ID: "answer", Status: OK},
		}, "subscriptions ping"},
		"it leaves before its subscriptions are asked for": {device{subscriptions: 404, message: 404}, []Result{
			{ID: "subscription", Status: Failed, Text: "the device has left meanwhile", Remedy: "culvert doctor pi-1"},
			{ID: "answer", Status: Skipped, Text: "not connected"},
		}, "subscriptions"},
		"it leaves before the ping": {device{subscriptions: 200, message: 404}, []Result{
			{ID: "subscription", Status: OK},
			{ID: "answer", Status: Failed, Text: "the device has left meanwhile", Remedy: "culvert doctor pi-1"},
		}, "subscriptions ping"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				last := map[string]Result{}
				for _, r := range Run(t.Context(), asking(tt.Do)).Results {
					last[r.ID] = r
				}
				for _, want := range tt.want {
					r := last[want.ID]
					if r.Status != want.Status || !strings.Contains(r.Text, want.Text) || !strings.Contains(r.Remedy, want.Remedy) {
						t.Errorf("%+v, want %+v", r, want)
					}
				}
				if _, told := last["client_id"]; told != strings.HasPrefix(name, "another client") {
					t.Errorf("a second client: %t", told)
				}
				if asked := strings.Join(tt.asked, " "); asked != tt.calls {
					t.Errorf("it was asked for %q, want %q", asked, tt.calls)
				}
			})
		})
	}
}
