package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestValidation(t *testing.T) {
	const id, arn = `"tunnelId":"t"`, `"resourceArn":"arn:aws:iot:eu-west-1:123456789012:tunnel/t"`
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	tests := []struct {
		name, operation, body string
		wantType, wantText    string // "": accepted as far as the form goes
	}{
		{"not JSON", "OpenTunnel", `{"description":`, "SerializationException", "JSON"},
		{"an array", "OpenTunnel", `[]`, "SerializationException", "JSON"},
		{"null", "OpenTunnel", `null`, "SerializationException", "JSON"},
		{"two objects", "OpenTunnel", `{}{}`, "SerializationException", "follows"},
		{"a number for a text", "OpenTunnel", `{"description":1}`, "SerializationException", "description must be a string"},
		{"a text for a list", "OpenTunnel", `{"tags":"a"}`, "SerializationException", "tags must be an array"},
		{"a text for a tag", "OpenTunnel", `{"tags":["a"]}`, "SerializationException", "tags.1.member must be an object"},
		{"a text for an object", "OpenTunnel", `{"destinationConfig":"SSH"}`, "SerializationException", "destinationConfig must be an object"},
		{"a text for a service list", "OpenTunnel", `{"destinationConfig":{"services":"SSH"}}`, "SerializationException", "destinationConfig.services must be an array"},
		{"a fraction for an integer", "OpenTunnel", `{"timeoutConfig":{"maxLifetimeTimeoutMinutes":1.5}}`, "SerializationException", "maxLifetimeTimeoutMinutes must be an integer"},
		{"a text for an integer", "ListTunnels", `{"maxResults":"1"}`, "SerializationException", "maxResults must be an integer"},
		{"a text for a boolean", "CloseTunnel", `{` + id + `,"delete":"true"}`, "SerializationException", "delete must be true or false"},
		{"a wrong type comes before a broken constraint", "CloseTunnel", `{"tunnelId":"?","delete":1}`, "SerializationException", "delete"},

		{"empty description", "OpenTunnel", `{"description":""}`, "ValidationException", "length greater than or equal to 1"},
		{"description of 2048 characters", "OpenTunnel", `{"description":"` + strings.Repeat("ü", 2048) + `"}`, "", ""},
		{"description of 2049 characters", "OpenTunnel", `{"description":"` + strings.Repeat("ü", 2049) + `"}`, "ValidationException", "length less than or equal to 2048"},
		{"description with a line feed", "OpenTunnel", `{"description":"a\nb"}`, "ValidationException", "regular expression"},
		{"lifetime of 0", "OpenTunnel", `{"timeoutConfig":{"maxLifetimeTimeoutMinutes":0}}`, "ValidationException", "value greater than or equal to 1"},
		{"lifetime of 721", "OpenTunnel", `{"timeoutConfig":{"maxLifetimeTimeoutMinutes":721}}`, "ValidationException", "value less than or equal to 720"},
		{"lifetime of 720", "OpenTunnel", `{"timeoutConfig":{"maxLifetimeTimeoutMinutes":720}}`, "", ""},
		{"an empty timeoutConfig", "OpenTunnel", `{"timeoutConfig":{}}`, "", ""},
		{"no services", "OpenTunnel", `{"destinationConfig":{"thingName":"a"}}`, "ValidationException", "'destinationConfig.services' failed to satisfy constraint: Member must not be null"},
		{"an empty service list", "OpenTunnel", `{"destinationConfig":{"services":[]}}`, "ValidationException", "length greater than or equal to 1"},
		{"a service without a name", "OpenTunnel", `{"destinationConfig":{"services":[null]}}`, "ValidationException", "not be null"},
		{"services without a thing", "OpenTunnel", `{"destinationConfig":{"services":["SSH"]}}`, "", ""},
		{"three services", "OpenTunnel", `{"destinationConfig":{"services":["a","b:c","d_-9"]}}`, "", ""},
		{"four services", "OpenTunnel", `{"destinationConfig":{"services":["a","b","c","d"]}}`, "LimitExceededException", "3 services"},
		{"a service with a dot", "OpenTunnel", `{"destinationConfig":{"services":["a.b"]}}`, "ValidationException", "'destinationConfig.services.1.member'"},
		{"a service of 129 characters", "OpenTunnel", `{"destinationConfig":{"services":["` + long(129) + `"]}}`, "ValidationException", "less than or equal to 128"},
		{"a thing of 128 characters", "OpenTunnel", `{"destinationConfig":{"thingName":"` + long(128) + `","services":["a"]}}`, "", ""},
		{"a thing of 129 characters", "OpenTunnel", `{"destinationConfig":{"thingName":"` + long(129) + `","services":["a"]}}`, "ValidationException", "less than or equal to 128"},
		{"a thing with a slash", "OpenTunnel", `{"destinationConfig":{"thingName":"a/b","services":["a"]}}`, "ValidationException", "regular expression"},
		{"a thing with a wild card", "OpenTunnel", `{"destinationConfig":{"thingName":"+","services":["a"]}}`, "ValidationException", "regular expression"},
		{"two faults at once", "OpenTunnel", `{"description":"","timeoutConfig":{"maxLifetimeTimeoutMinutes":0}}`, "ValidationException", "2 validation errors detected"},
		{"member names know case", "OpenTunnel", `{"Description":""}`, "", ""},

		{"an empty tag list", "OpenTunnel", `{"tags":[]}`, "ValidationException", "greater than or equal to 1"},
		{"200 tags", "OpenTunnel", `{"tags":[` + many(200, `{"key":"a","value":"b"}`) + `]}`, "", ""},
		{"201 tags", "OpenTunnel", `{"tags":[` + many(201, `{"key":"a","value":"b"}`) + `]}`, "ValidationException", "less than or equal to 200"},
		{"a tag without key", "OpenTunnel", `{"tags":[{"value":"b"}]}`, "ValidationException", "key' failed"},
		{"a tag without value", "OpenTunnel", `{"tags":[{"key":"b"}]}`, "ValidationException", "value' failed"},
		{"an empty tag key", "OpenTunnel", `{"tags":[{"key":"","value":""}]}`, "ValidationException", "greater than or equal to 1"},
		{"a tag key of 129 characters", "OpenTunnel", `{"tags":[{"key":"` + long(129) + `","value":""}]}`, "ValidationException", "128"},
		{"a tag value of 257 characters", "OpenTunnel", `{"tags":[{"key":"a","value":"` + long(257) + `"}]}`, "ValidationException", "256"},
		{"a tag with an odd character", "OpenTunnel", `{"tags":[{"key":"a;b","value":""}]}`, "ValidationException", "regular expression"},
		{"no tag at all", "OpenTunnel", `{"tags":[null]}`, "ValidationException", "not be null"},

		{"rotate without anything", "RotateTunnelAccessToken", `{}`, "ValidationException", "2 validation errors detected"},
		{"rotate with an unknown mode", "RotateTunnelAccessToken", `{` + id + `,"clientMode":"source"}`, "ValidationException", "[SOURCE, DESTINATION, ALL]"},
		{"rotate SOURCE with a destination", "RotateTunnelAccessToken", `{` + id + `,"clientMode":"SOURCE","destinationConfig":{"services":["a"]}}`, "ValidationException", "SOURCE"},
		{"rotate with four services", "RotateTunnelAccessToken", `{` + id + `,"clientMode":"ALL","destinationConfig":{"services":["a","b","c","d"]}}`, "LimitExceededException", "3 services"},
		{"describe without id", "DescribeTunnel", `{}`, "ValidationException", "'tunnelId'"},
		{"describe with null for id", "DescribeTunnel", `{"tunnelId":null}`, "ValidationException", "'tunnelId'"},
		{"an id with odd characters", "DescribeTunnel", `{"tunnelId":"a/b"}`, "ValidationException", "regular expression"},
		{"an id of 129 characters", "CloseTunnel", `{"tunnelId":"` + long(129) + `"}`, "ValidationException", "128"},
		{"an unknown id", "DescribeTunnel", `{"tunnelId":"a-B_0+=:"}`, "ResourceNotFoundException", "a-B_0+=:"},
		{"close without id", "CloseTunnel", `{"delete":true}`, "ValidationException", "'tunnelId'"},

		{"a page of 0", "ListTunnels", `{"maxResults":0}`, "ValidationException", "greater than or equal to 1"},
		{"a page of 101", "ListTunnels", `{"maxResults":101}`, "ValidationException", "less than or equal to 100"},
		{"a page token with odd characters", "ListTunnels", `{"nextToken":"a+b"}`, "ValidationException", "regular expression"},
		{"a page token of 4097 characters", "ListTunnels", `{"nextToken":"` + long(4097) + `"}`, "ValidationException", "4096"},
		{"list a thing with an odd name", "ListTunnels", `{"thingName":"a b"}`, "ValidationException", "regular expression"},

		{"tag nothing", "TagResource", `{"tags":[{"key":"a","value":"b"}]}`, "ValidationException", "'resourceArn'"},
		{"tag with nothing", "TagResource", `{` + arn + `}`, "ValidationException", "'tags'"},
		{"untag with nothing", "UntagResource", `{` + arn + `}`, "ValidationException", "'tagKeys'"},
		{"untag 201 keys", "UntagResource", `{` + arn + `,"tagKeys":[` + many(201, `"a"`) + `]}`, "ValidationException", "200"},
		{"an ARN of 1012 characters", "ListTagsForResource", `{"resourceArn":"` + long(1012) + `"}`, "ValidationException", "1011"},
		{"list tags of nothing", "ListTagsForResource", `{}`, "ValidationException", "'resourceArn'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			if tt.wantType == "" {
				b.ok(tt.operation, tt.body)
			} else {
				b.refused(tt.operation, tt.body, tt.wantType, tt.wantText)
				if list := b.store.List(""); len(list) != 0 {
					t.Errorf("a refused call opened %v", list)
				}
			}
		})
	}
}

func TestHugeRequestIsRefused(t *testing.T) {
	b := newBench(t, nil)
	a := b.send(b.request("OpenTunnel", `{"x":"`+strings.Repeat("x", maxBody)+`"}`))
	b.wantError(a, http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "")
}

func TestTunnelQuota(t *testing.T) {
	store := tunnels.New(tunnels.Config{Region: "eu-west-1", MaxTunnels: 1, Now: func() time.Time { return begin }})
	b := newBench(t, func(c *Config) { c.Store = store; c.MaxServices = 5 })
	b.open(`{"destinationConfig":{"services":["a","b","c","d","e"]}}`)
	b.refused("OpenTunnel", `{}`, "LimitExceededException", "1")
}
