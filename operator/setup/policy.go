package setup

import (
	"encoding/json"
	"errors"
	"reflect"

	"github.com/culvert-iot/culvert/internal/endpoints"
)

// policyDocument allows what a device needs for tunnels and no more (AWS IoT developer guide, policy actions):
// Subscribe takes a topicfilter, Receive a topic. It names the thing rather than a policy variable, since
// ${iot:Connection.Thing.ThingName} has a value only where the client id is the thing's name.
func policyDocument(region, account, thing string) string {
	arn := "arn:" + endpoints.Partition(region) + ":iot:" + region + ":" + account + ":"
	notify := "$aws/things/" + thing + "/tunnels/notify"
	return `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "` + arn + `client/` + thing + `-tunnel"},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "` + arn + `topicfilter/` + notify + `"},
    {"Effect": "Allow", "Action": "iot:Receive", "Resource": "` + arn + `topic/` + notify + `"},
    {"Effect": "Allow", "Action": "iot:Receive", "Resource": "` + arn + `topic/culvert/` + thing + `/ping"}
  ]
}
`
}

// samePolicy compares two documents without their spaces.
func samePolicy(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// asError is err as an *Error.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Text: err.Error()}
}
