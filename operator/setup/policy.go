package setup

import (
	"encoding/json"
	"reflect"

	"github.com/culvert-iot/culvert/internal/endpoints"
)

// policyDocument allows only what a device needs for tunnels (AWS IoT developer guide, policy actions): Subscribe takes a
// topicfilter, Receive a topic. It names the thing: ${iot:Connection.Thing.ThingName} has a value only if the client ID
// is the thing's name.
func policyDocument(region, account, thing string) string {
	arn := "arn:" + endpoints.Partition(region) + ":iot:" + region + ":" + account + ":"
	notify := "$aws/things/" + thing + "/tunnels/notify"
	return `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "` + arn + `client/` + thing + `-tunnel"},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "` + arn + `topicfilter/` + notify + `"},
    {"Effect": "Allow", "Action": "iot:Receive", "Resource": "` + arn + `topic/` + notify + `"},
    {"Effect": "Allow", "Action": "iot:Receive", "Resource": "` + arn + `topic/culvert/` + thing + `/ping"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish"], "Resource": "` + arn + `topic/culvert/` + thing + `/pong"}
  ]
}
`
}

// samePolicy compares two documents, whatever their white space.
func samePolicy(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
