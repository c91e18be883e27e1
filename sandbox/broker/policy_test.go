package broker

import (
	"regexp"
	"strings"
	"testing"
)

func TestPolicy(t *testing.T) {
	const arn = "arn:aws:iot:eu-west-1:123456789012:"
	statement := func(effect, action, resource string) string {
		return `{"Effect":"` + effect + `","Action":"` + action + `","Resource":"` + arn + resource + `"}`
	}
	document := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	me := principal{thing: "pi-1", clientID: "pi-1-tunnel"}
	tests := []struct {
		name             string
		document         string
		action, resource string
		who              principal
		want             bool
	}{
		{"an action that is named", document(statement("Allow", "iot:Connect", "client/a")), actionConnect, "client/a", me, true},
		{"an action that is not", document(statement("Allow", "iot:Connect", "client/a")), actionPublish, "client/a", me, false},
		{"actions know no case", document(statement("Allow", "IOT:connect", "client/a")), actionConnect, "client/a", me, true},
		{"a wild card in the action", document(statement("Allow", "iot:*", "client/a")), actionConnect, "client/a", me, true},
		{"resources know case", document(statement("Allow", "iot:Connect", "client/A")), actionConnect, "client/a", me, false},
		{"* crosses levels", document(statement("Allow", "iot:Publish", "topic/a/*")), actionPublish, "topic/a/b/c", me, true},
		{"* may stand for nothing", document(statement("Allow", "iot:Publish", "topic/a*")), actionPublish, "topic/a", me, true},
		{"* in the middle tries again", document(statement("Allow", "iot:Publish", "topic/*/end")), actionPublish, "topic/end/x/end", me, true},
		{"? is one character", document(statement("Allow", "iot:Publish", "topic/?")), actionPublish, "topic/ab", me, false},
		{"+ is no wild card", document(statement("Allow", "iot:Subscribe", "topicfilter/a/+")), actionSubscribe, "topicfilter/a/b", me, false},
		{"+ allows subscribing to +", document(statement("Allow", "iot:Subscribe", "topicfilter/a/+")), actionSubscribe, "topicfilter/a/+", me, true},
		{"subscribing wants topicfilter", document(statement("Allow", "iot:Subscribe", "topic/a")), actionSubscribe, "topicfilter/a", me, false},
		{"receiving wants topic", document(statement("Allow", "iot:Receive", "topicfilter/a")), actionReceive, "topic/a", me, false},
		{"deny wins over an earlier allow", document(statement("Allow", "iot:*", "client/*"), statement("Deny", "iot:Connect", "client/x")), actionConnect, "client/x", me, false},
		{"deny wins over a later allow", document(statement("Deny", "iot:Connect", "client/x"), statement("Allow", "iot:*", "client/*")), actionConnect, "client/x", me, false},
		{"deny elsewhere does not matter", document(statement("Deny", "iot:Connect", "client/x"), statement("Allow", "iot:*", "client/*")), actionConnect, "client/y", me, true},
		{"the client id", document(statement("Allow", "iot:Connect", "client/${iot:ClientId}")), actionConnect, "client/pi-1-tunnel", me, true},
		{"a client id is no pattern", document(statement("Allow", "iot:Publish", "topic/${iot:ClientId}")), actionPublish, "topic/anything", principal{"pi-1", "*"}, false},
		{"a backslash is a character", document(statement("Allow", "iot:Publish", `topic/a\\\\b`)), actionPublish, `topic/a\\b`, me, true},
		{"a client id with a backslash", document(statement("Allow", "iot:Publish", "topic/${iot:ClientId}")), actionPublish, `topic/a\*`, principal{"pi-1", `a\*`}, true},
		{"default: own notifications", DefaultPolicy("eu-west-1", "123456789012"), actionSubscribe, "topicfilter/" + notify, me, true},
		{"default: of another thing", DefaultPolicy("eu-west-1", "123456789012"), actionSubscribe, "topicfilter/" + notify, principal{"pi-2", "pi-2"}, false},
		{"default: nothing is published", DefaultPolicy("eu-west-1", "123456789012"), actionPublish, "topic/" + notify, me, false},
		{"default in China", DefaultPolicy("cn-north-1", "123456789012"), actionConnect, "client/pi-1-tunnel", me, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := policy(t, tt.document).allows(tt.action, tt.resource, tt.who); got != tt.want {
				t.Errorf("allows = %v, want %v, by\n%s", got, tt.want, tt.document)
			}
		})
	}
}

func TestPoliciesThatAreNotUnderstood(t *testing.T) {
	tests := []struct{ name, document, want string }{
		{"no JSON", `{`, "parse"},
		{"no statement", `{"Version":"2012-10-17","Statement":[]}`, "no statement"},
		{"a condition", `{"Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"Bool":{}}}]}`, "Condition"},
		{"NotResource", `{"Statement":[{"Effect":"Allow","Action":"iot:Connect","NotResource":"*"}]}`, "NotResource"},
		{"no effect", `{"Statement":[{"Action":"iot:Connect","Resource":"*"}]}`, "Effect"},
		{"no resource", `{"Statement":[{"Effect":"Allow","Action":"iot:Connect"}]}`, "required"},
		{"no ARN", `{"Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"client/a"}]}`, "ARN"},
		{"an ARN of another service", `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bucket"}]}`, "ARN"},
		{"another kind of resource", `{"Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:r:1:thing/a"}]}`, "topicfilter/"},
		{"an unknown variable", `{"Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:r:1:client/${iot:Connection.Thing.ThingTypeName}"}]}`, "ThingTypeName"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParsePolicy([]byte(tt.document)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParsePolicy: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// FuzzPolicy: no document makes it panic, and its patterns match as the plainest possible matcher says.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(DefaultPolicy("eu-west-1", "123456789012")), "client/pi-1")
	f.Add([]byte("a*b?c"), "axxbyc")
	f.Add([]byte(`\*a**`), "*a")
	f.Add([]byte(`{"Statement":[{"Effect":"Deny","Action":["iot:*","?"],"Resource":["*","arn:aws:iot:r:1:topic/**\\?"]}]}`), "topic/a")
	f.Fuzz(func(t *testing.T, document []byte, resource string) {
		p, err := ParsePolicy(document)
		if err == nil {
			p.allows(actionConnect, resource, principal{"thing", resource})
		}
		checkGlob(t, string(document), resource)
	})
}

func checkGlob(t *testing.T, pattern, s string) {
	t.Helper()
	if strings.HasSuffix(strings.ReplaceAll(pattern, `\\`, ""), `\`) || strings.ContainsAny(pattern+s, "\n") || len(pattern) > 50 {
		return
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '\\':
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	for _, r := range pattern + s {
		if r > 126 || r < 32 {
			return
		}
	}
	want := regexp.MustCompile("(?s)^" + b.String() + "$").MatchString(s)
	if got := glob(pattern, s); got != want {
		t.Errorf("glob(%q, %q) = %v, want %v", pattern, s, got, want)
	}
}
