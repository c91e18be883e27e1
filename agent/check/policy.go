package check

import (
	"strings"

	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/internal/endpoints"
)

// Statement is one of an AWS IoT policy.
type Statement struct {
	Effect   string `json:"Effect"`
	Action   string `json:"Action"`
	Resource string `json:"Resource"`
}

// statements allow what the broker seems to deny.
//
// Subscribe takes a topicfilter, Receive a topic (AWS IoT developer guide, policy actions); the other
// way round both are denied.
func (c *checkup) statements(f notify.Fault) []Statement {
	topic := "$aws/things/" + c.cfg.ThingName + "/tunnels/notify"
	switch f {
	case notify.ConnectDenied:
		return []Statement{c.allow("iot:Connect", "client/"+c.cfg.MQTT.ClientID)}
	case notify.SubscribeDenied:
		return []Statement{c.allow("iot:Subscribe", "topicfilter/"+topic), c.allow("iot:Receive", "topic/"+topic)}
	case notify.ClientIDClash:
	}
	return nil
}

// allow returns a statement. ACCOUNT stands for the account's number, which no file of the device has,
// and REGION for a region that the endpoint's name does not show.
func (c *checkup) allow(action, resource string) Statement {
	region := regionOf(c.cfg.MQTT.Endpoint)
	partition := endpoints.Partition(region)
	if region == "" {
		region = "REGION"
	}
	return Statement{"Allow", action, "arn:" + partition + ":iot:" + region + ":ACCOUNT:" + resource}
}

// regionOf returns the region in an AWS IoT endpoint's name, such as
// a1b2c3d4-ats.iot.eu-west-1.amazonaws.com, or "" for any other name.
func regionOf(host string) string {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	for i, label := range labels {
		if i == 0 || i+2 >= len(labels) || label != "iot" && label != "iot-fips" {
			continue
		}
		data, err := endpoints.Data(labels[i+1])
		if err == nil && strings.HasSuffix(data, "."+strings.Join(labels[i+1:], ".")) {
			return labels[i+1]
		}
	}
	return ""
}
