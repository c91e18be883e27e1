package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOpenTunnel(t *testing.T) {
	b := newBench(t, nil)
	out := b.ok("OpenTunnel", `{"description":"für Käthe","tags":[{"key":"team","value":"field ops"},{"key":"k","value":""}],
		"destinationConfig":{"thingName":"pi-1","services":["SSH","HTTP"]},"timeoutConfig":{"maxLifetimeTimeoutMinutes":60}}`)
	id, _ := out["tunnelId"].(string)
	source, _ := out["sourceAccessToken"].(string)
	destination, _ := out["destinationAccessToken"].(string)
	if source == "" || destination == "" || source == destination {
		t.Errorf("tokens %q and %q", source, destination)
	}
	want := map[string]any{
		"tunnelId": id, "tunnelArn": "arn:aws:iot:eu-west-1:123456789012:tunnel/" + id,
		"sourceAccessToken": source, "destinationAccessToken": destination,
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("OpenTunnel (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pi-1SSH+HTTP"}, b.told); diff != "" {
		t.Errorf("notified (-want +got):\n%s", diff)
	}
	state := map[string]any{"status": "DISCONNECTED", "lastUpdatedAt": at(begin)}
	want = map[string]any{"tunnel": map[string]any{
		"tunnelId": id, "tunnelArn": out["tunnelArn"], "status": "OPEN", "description": "für Käthe",
		"sourceConnectionState": state, "destinationConnectionState": state,
		"destinationConfig": map[string]any{"thingName": "pi-1", "services": []any{"SSH", "HTTP"}},
		"timeoutConfig":     map[string]any{"maxLifetimeTimeoutMinutes": 60.0},
		"tags":              []any{map[string]any{"key": "team", "value": "field ops"}, map[string]any{"key": "k", "value": ""}},
		"createdAt":         at(begin), "lastUpdatedAt": at(begin),
	}}
	if diff := cmp.Diff(want, b.ok("DescribeTunnel", `{"tunnelId":"`+id+`"}`)); diff != "" {
		t.Errorf("DescribeTunnel (-want +got):\n%s", diff)
	}
}

func TestOpenTunnelWithNothing(t *testing.T) {
	b := newBench(t, nil)
	for _, body := range []string{`{}`, ``, `{"description":null,"tags":null,"destinationConfig":null,"timeoutConfig":null,"fromTheFuture":{"a":[1]}}`} {
		id, arn := b.open(body)
		state := map[string]any{"status": "DISCONNECTED", "lastUpdatedAt": at(begin)}
		want := map[string]any{"tunnel": map[string]any{
			"tunnelId": id, "tunnelArn": arn, "status": "OPEN", "sourceConnectionState": state, "destinationConnectionState": state,
			"timeoutConfig": map[string]any{"maxLifetimeTimeoutMinutes": 720.0}, "createdAt": at(begin), "lastUpdatedAt": at(begin),
		}}
		if diff := cmp.Diff(want, b.ok("DescribeTunnel", `{"tunnelId":"`+id+`"}`)); diff != "" {
			t.Errorf("opened with %q (-want +got):\n%s", body, diff)
		}
	}
	if len(b.told) != 0 {
		t.Errorf("notified %v", b.told)
	}
}

func TestRotateTunnelAccessToken(t *testing.T) {
	const config = `,"destinationConfig":{"thingName":"pi-1","services":["SSH"]}`
	tests := []struct {
		mode, config        string
		source, destination bool
		told                []string
	}{
		{mode: "SOURCE", source: true},
		{mode: "DESTINATION", destination: true},
		{mode: "DESTINATION", config: config, destination: true, told: []string{"pi-1SSH"}},
		{mode: "ALL", config: config, source: true, destination: true, told: []string{"pi-1SSH"}},
		{mode: "ALL", source: true, destination: true},
	}
	for _, tt := range tests {
		t.Run(tt.mode+tt.config, func(t *testing.T) {
			b := newBench(t, nil)
			id, arn := b.open(`{"destinationConfig":{"thingName":"pi-1","services":["SSH"]}}`)
			b.told = nil
			out := b.ok("RotateTunnelAccessToken", `{"tunnelId":"`+id+`","clientMode":"`+tt.mode+`"`+tt.config+`}`)
			want := map[string]any{"tunnelArn": arn}
			if tt.source {
				want["sourceAccessToken"] = out["sourceAccessToken"]
			}
			if tt.destination {
				want["destinationAccessToken"] = out["destinationAccessToken"]
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			for k, v := range out {
				if s, _ := v.(string); s == "" {
					t.Errorf("%s is empty", k)
				}
			}
			if diff := cmp.Diff(tt.told, b.told); diff != "" {
				t.Errorf("notified (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCloseTunnel(t *testing.T) {
	b := newBench(t, nil)
	kept, _ := b.open(`{}`)
	gone, _ := b.open(`{}`)
	b.now = begin.Add(time.Minute)
	for _, body := range []string{`{"tunnelId":"` + kept + `"}`, `{"tunnelId":"` + kept + `","delete":false}`, `{"tunnelId":"` + gone + `","delete":true}`} {
		if diff := cmp.Diff(map[string]any{}, b.ok("CloseTunnel", body)); diff != "" {
			t.Errorf("CloseTunnel (-want +got):\n%s", diff)
		}
	}
	tunnel, _ := b.ok("DescribeTunnel", `{"tunnelId":"`+kept+`"}`)["tunnel"].(map[string]any)
	if tunnel["status"] != "CLOSED" || tunnel["lastUpdatedAt"] != at(b.now) || tunnel["createdAt"] != at(begin) {
		t.Errorf("closed tunnel: %v", tunnel)
	}
	b.refused("DescribeTunnel", `{"tunnelId":"`+gone+`"}`, "ResourceNotFoundException", gone)
	b.refused("CloseTunnel", `{"tunnelId":"`+gone+`"}`, "ResourceNotFoundException", gone)
	b.refused("RotateTunnelAccessToken", `{"tunnelId":"`+kept+`","clientMode":"ALL"}`, "ResourceNotFoundException", kept)
	if list := b.ok("ListTunnels", `{}`)["tunnelSummaries"].([]any); len(list) != 1 {
		t.Errorf("listed %v", list)
	}
	b.now = begin.Add(3*time.Hour + 2*time.Minute)
	b.refused("DescribeTunnel", `{"tunnelId":"`+kept+`"}`, "ResourceNotFoundException", kept)
}

func TestListTunnels(t *testing.T) {
	b := newBench(t, nil)
	if diff := cmp.Diff(map[string]any{"tunnelSummaries": []any{}}, b.ok("ListTunnels", `{}`)); diff != "" {
		t.Errorf("empty list (-want +got):\n%s", diff)
	}
	var want []any
	for i := range 3 {
		b.now = begin.Add(time.Duration(i) * time.Second)
		id, arn := b.open(fmt.Sprintf(`{"description":"number %d","destinationConfig":{"thingName":"pi-%d","services":["SSH"]},"tags":[{"key":"a","value":"b"}]}`, i, i%2))
		want = append([]any{map[string]any{
			"tunnelId": id, "tunnelArn": arn, "status": "OPEN", "description": fmt.Sprint("number ", i), "createdAt": at(b.now), "lastUpdatedAt": at(b.now),
		}}, want...)
	}
	if diff := cmp.Diff(map[string]any{"tunnelSummaries": want}, b.ok("ListTunnels", `{}`)); diff != "" {
		t.Errorf("newest first, summaries only (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"tunnelSummaries": []any{want[0], want[2]}}, b.ok("ListTunnels", `{"thingName":"pi-0"}`)); diff != "" {
		t.Errorf("of one thing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"tunnelSummaries": []any{}}, b.ok("ListTunnels", `{"thingName":"pi-7"}`)); diff != "" {
		t.Errorf("of no thing (-want +got):\n%s", diff)
	}
}

// pages lists everything, size at a time; between is called after the first page.
func (b *bench) pages(size int, thing string, between func()) (ids []string, counts []int) {
	b.t.Helper()
	next := ""
	for {
		out := b.ok("ListTunnels", fmt.Sprintf(`{"maxResults":%d,"thingName":%q%s}`, size, thing, next))
		list := out["tunnelSummaries"].([]any)
		counts = append(counts, len(list))
		for _, s := range list {
			ids = append(ids, s.(map[string]any)["tunnelId"].(string))
		}
		token, more := out["nextToken"].(string)
		if !more {
			return ids, counts
		}
		next = fmt.Sprintf(`,"nextToken":%q`, token)
		if between != nil {
			between()
			between = nil
		}
	}
}

func TestPagination(t *testing.T) {
	b := newBench(t, nil)
	var all []string // newest first
	for range 205 {  // all in the same millisecond
		id, _ := b.open(`{"destinationConfig":{"thingName":"pi-1","services":["SSH"]}}`)
		all = append([]string{id}, all...)
	}
	for _, tt := range []struct {
		size   int
		counts []int
	}{{100, []int{100, 100, 5}}, {41, []int{41, 41, 41, 41, 41}}} {
		ids, counts := b.pages(tt.size, "pi-1", nil)
		if diff := cmp.Diff(all, ids); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", tt.size, diff)
		}
		if diff := cmp.Diff(tt.counts, counts); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", tt.size, diff)
		}
	}
	if list := b.ok("ListTunnels", `{}`); len(list["tunnelSummaries"].([]any)) != 100 || list["nextToken"] == nil {
		t.Error("a page without maxResults has not 100 tunnels")
	}
	// A tunnel that is opened or deleted between two pages makes none come twice.
	ids, _ := b.pages(100, "pi-1", func() {
		b.now = b.now.Add(time.Second)
		b.open(`{"destinationConfig":{"thingName":"pi-1","services":["SSH"]}}`)
		b.ok("CloseTunnel", `{"tunnelId":"`+all[150]+`","delete":true}`)
	})
	if diff := cmp.Diff(append(append([]string{}, all[:150]...), all[151:]...), ids); diff != "" {
		t.Errorf("with changes between pages (-want +got):\n%s", diff)
	}
	token := b.ok("ListTunnels", `{"maxResults":1,"thingName":"pi-1"}`)["nextToken"].(string)
	b.refused("ListTunnels", `{"nextToken":"`+token+`"}`, "ValidationException", "nextToken") // of another list
	for _, bad := range []string{"AAAA", "IA", "MSAxIA=="} {
		b.refused("ListTunnels", `{"nextToken":"`+bad+`"}`, "ValidationException", "nextToken")
	}
}

func TestPageAfterADeletedTunnel(t *testing.T) {
	b := newBench(t, nil)
	first, _ := b.open(`{}`)
	b.now = begin.Add(time.Second)
	second, _ := b.open(`{}`)
	b.now = begin.Add(2 * time.Second)
	b.open(`{}`)
	token := b.ok("ListTunnels", `{"maxResults":2}`)["nextToken"].(string) // ends with second
	b.ok("CloseTunnel", `{"tunnelId":"`+second+`","delete":true}`)
	list := b.ok("ListTunnels", `{"nextToken":"`+token+`"}`)["tunnelSummaries"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["tunnelId"] != first {
		t.Errorf("after the deleted one: %v", list)
	}
}

func TestTags(t *testing.T) {
	b := newBench(t, nil)
	id, arn := b.open(`{"tags":[{"key":"a","value":"1"}]}`)
	tags := func(want ...any) {
		t.Helper()
		if want == nil {
			want = []any{}
		}
		if diff := cmp.Diff(map[string]any{"tags": want}, b.ok("ListTagsForResource", `{"resourceArn":"`+arn+`"}`)); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	}
	tag := func(k, v string) any { return map[string]any{"key": k, "value": v} }
	tags(tag("a", "1"))
	b.ok("TagResource", `{"resourceArn":"`+arn+`","tags":[{"key":"a","value":"2"},{"key":"Schlüssel/1","value":"x y"}]}`)
	tags(tag("a", "2"), tag("Schlüssel/1", "x y"))
	b.ok("UntagResource", `{"resourceArn":"`+arn+`","tagKeys":["a","absent"]}`)
	tags(tag("Schlüssel/1", "x y"))
	b.ok("UntagResource", `{"resourceArn":"`+arn+`","tagKeys":[]}`)
	b.ok("UntagResource", `{"resourceArn":"`+arn+`","tagKeys":["Schlüssel/1"]}`)
	tags()
	for _, call := range []string{"ListTagsForResource {}", `TagResource {,"tags":[{"key":"a","value":"b"}]}`, `UntagResource {,"tagKeys":["a"]}`} {
		operation, body, _ := strings.Cut(call, " ")
		b.refused(operation, strings.Replace(body, "{", `{"resourceArn":"`+arn+`x"`, 1), "ResourceNotFoundException", id)
	}
}
