package setup

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/culvert-iot/culvert/internal/endpoints"
)

// policyStatements allow only what a device needs for tunnels (AWS IoT developer guide, policy actions): Subscribe takes a
// topicfilter, Receive a topic. They name the thing: ${iot:Connection.Thing.ThingName} has a value only if the client ID
// is the thing's name. A new one goes to the end, see [earlierPolicy].
func policyStatements(region, account, thing string) []string {
	arn := "arn:" + endpoints.Partition(region) + ":iot:" + region + ":" + account + ":"
	notify := "$aws/things/" + thing + "/tunnels/notify"
	return []string{
		`{"Effect": "Allow", "Action": "iot:Connect", "Resource": "` + arn + `client/` + thing + `-tunnel"}`,
		`{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "` + arn + `topicfilter/` + notify + `"}`,
		`{"Effect": "Allow", "Action": "iot:Receive", "Resource": "` + arn + `topic/` + notify + `"}`,
		`{"Effect": "Allow", "Action": "iot:Receive", "Resource": "` + arn + `topic/culvert/` + thing + `/ping"}`,
		`{"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish"], "Resource": "` + arn + `topic/culvert/` + thing + `/pong"}`,
	}
}

func policyDocument(statements []string) string {
	return `{
  "Version": "2012-10-17",
  "Statement": [
    ` + strings.Join(statements, ",\n    ") + `
  ]
}
`
}

// firstStatements is how many statements the first version of the policy had.
const firstStatements = 3

// earlierPolicy reports whether document is one that an earlier version of setup-thing wrote: it had fewer statements.
func earlierPolicy(document string, statements []string) bool {
	for n := firstStatements; n < len(statements); n++ {
		if samePolicy(document, policyDocument(statements[:n])) {
			return true
		}
	}
	return false
}

// samePolicy compares two documents, whatever their white space.
func samePolicy(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
