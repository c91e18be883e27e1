package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/iotdata"
	"github.com/culvert-iot/culvert/operator/presence"
)

// agent looks at culvertd's MQTT connection. It reports whether that is known.
func (d *doctor) agent(ctx context.Context) bool {
	id := d.client
	state, err := d.presence.Look(ctx, d.thing)
	if err != nil {
		d.unknown(ctx, "connection", "iot:DescribeEndpoint, and iot:GetConnection on client/"+id, err)
		return false
	}
	d.state = state
	ago := state.Ago(time.Now())
	other := presence.State{}
	if !state.Connected {
		// An error is no news: the caller may lack the permission for that client.
		other, _ = d.presence.LookClient(ctx, d.thing)
	}
	if other.Connected {
		if told, known := d.elsewhere(ctx, state, other); told {
			return known
		}
	}
	switch {
	case !state.Known && other.Connected:
		d.failed("connection", "the client "+d.thing+" is connected, which is the device's other program: install culvertd, or start it", "%s has never connected", id)
	case !state.Known:
		d.failed("connection", "start culvertd on the device, and run: sudo culvertd check; if mqtt.client_id there names another client, that is not looked for",
			"%s has never connected", id)
	case !state.Connected:
		d.failed("connection", remedyFor(state.Reason, id), "%s is not connected: last seen %s ago%s, %s", id, orUnknown(ago), from(state), orUnknown(state.Reason))
	case state.Thing != "" && state.Thing != d.thing:
		d.warn("connection", "a tunnel for "+d.thing+" reaches the device that uses this client id: check thing_name there",
			"%s is connected%s, with the certificate of %s", id, from(state), state.Thing)
	default:
		d.ok("connection", "%s is connected%s, for %s", id, from(state), orUnknown(ago))
	}
	return true
}

// elsewhere looks whether the client that is named like the thing hears of its tunnels, where the one that culvertd has by
// default is not connected: it may be culvertd with another id. told is false if it is not, known if that could be found out.
func (d *doctor) elsewhere(ctx context.Context, state, other presence.State) (told, known bool) {
	list, err := d.presence.Subscriptions(ctx, d.thing)
	switch {
	case err != nil && state.Known, iotdata.IsNotFound(err): // culvertd's own client has been there, or the other one has left
		return false, false
	case err != nil:
		d.unknown(ctx, "connection", "iot:ListSubscriptions on client/"+d.thing+", which is culvertd if its mqtt.client_id says so,", err)
		return true, false
	case !slices.ContainsFunc(list, d.isNotify):
		return false, true
	}
	missing := "has never connected"
	if state.Known {
		missing = "is not connected"
	}
	d.warn("connection", "if that is culvertd, with mqtt.client_id set, culvert ssh --no-look reaches it, and ls, ping and exec still look for "+
		d.client+"; if it is another program, start culvertd",
		"%s %s, but %s is connected%s, and subscribed to the thing's tunnel notifications", d.client, missing, d.thing, from(other))
	d.client = d.thing
	return true, true
}

// isNotify reports whether a subscription is that to the thing's tunnel notifications.
func (d *doctor) isNotify(s iotdata.Subscription) bool { return s.TopicFilter == d.notify() }

func (d *doctor) notify() string { return "$aws/things/" + d.thing + "/tunnels/notify" }

func from(s presence.State) string {
	if s.Address == "" {
		return ""
	}
	return " from " + s.Address
}

// again looks whether a young connection lasts. One that is replaced at once is how two clients with one id look.
func (d *doctor) again(ctx context.Context) bool {
	if !d.state.Connected || time.Since(d.state.Since) >= time.Minute {
		return true
	}
	select {
	case <-time.After(lookAgain):
	case <-ctx.Done():
		return false
	}
	now, err := d.presence.Look(ctx, d.thing)
	if err != nil || now.Connected && now.Since.Equal(d.state.Since) {
		return true
	}
	id := d.client
	if !now.Connected && now.Reason != duplicateID { // else the other client is about to be seen
		d.state = now
		d.failed("connection", remedyFor(now.Reason, id), "%s connected and has left again, %s", id, orUnknown(now.Reason))
		return true
	}
	d.warn("client_id", "look for a second client with the id "+id+", such as a copy of the device: two of them disconnect each other",
		"the connection of %s does not last: it was replaced within %v", id, lookAgain)
	return true
}

// lookAgain is longer than a second, AWS IoT's limit of CONNECTs for one client id.
const lookAgain = 2 * time.Second

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// duplicateID is why a connection ended whose client id another client connected with.
const duplicateID = "DUPLICATE_CLIENTID"

// remedyFor says what to do about a connection that ended.
func remedyFor(reason, id string) string {
	switch reason {
	case duplicateID:
		return "another client connected as " + id + ": look for a second culvertd, or a copy of the device"
	case "AUTH_ERROR", "FORBIDDEN_ACCESS":
		return "its policy refused something: run on the device: sudo culvertd check"
	case "CLIENT_INITIATED_DISCONNECT":
		return "culvertd was stopped, or the device was shut down: start it"
	case "API_INITIATED_DISCONNECT", "SERVER_INITIATED_DISCONNECT":
		return "AWS ended the connection, or a call of DeleteConnection did; culvertd should be back within a minute"
	case "THROTTLED":
		return "the account's connections are throttled: see the quotas of AWS IoT Core"
	}
	return "check the device's power and network"
}

// left reports an item that a device has kept from being found out, as it left since the last look at its connection.
func (d *doctor) left(id string) {
	d.state.Connected = false
	d.failed(id, "run culvert doctor "+d.thing+" again: it says why the device left", "the device has left meanwhile")
}

// subscription looks whether the device hears of tunnels.
func (d *doctor) subscription(ctx context.Context) bool {
	if d.client == d.thing {
		d.ok("subscription", "%s is subscribed to the thing's tunnel notifications", d.client)
		return true
	}
	if !d.state.Connected {
		d.skipped("subscription", "", "not looked at: the device is not connected")
		return false
	}
	list, err := d.presence.Subscriptions(ctx, d.client)
	if iotdata.IsNotFound(err) {
		d.left("subscription")
		return false
	}
	if err != nil {
		d.unknown(ctx, "subscription", "iot:ListSubscriptions on client/"+d.client, err)
		return false
	}
	if slices.ContainsFunc(list, d.isNotify) {
		d.ok("subscription", "the device is subscribed to its tunnel notifications")
		return true
	}
	topic := d.notify()
	others := make([]string, 0, len(list))
	for _, s := range list {
		others = append(others, clean.Line(s.TopicFilter, 100))
	}
	text := "the device is not subscribed to " + topic
	if len(others) > 0 {
		text += ", but to " + strings.Join(others[:min(3, len(others))], ", ")
	}
	d.failed("subscription", "its policy must allow iot:Subscribe on topicfilter/"+topic+"; thing_name on the device must be "+d.thing, "%s", text)
	return true
}

// answer asks culvertd for a sign of life.
func (d *doctor) answer(ctx context.Context) bool {
	if d.client == d.thing {
		d.skipped("answer", "", "not asked: pings go to the client %s", presence.ClientID(d.thing))
		return false
	}
	if !d.state.Connected {
		d.skipped("answer", "", "not asked: the device is not connected")
		return false
	}
	patience := pingTimeout
	if d.limit > 0 {
		patience = min(patience, (d.limit - pingMargin).Truncate(time.Second))
	}
	if patience < time.Second {
		d.skipped("answer", moreTime, "not asked: there is not enough time left")
		return false
	}
	took, err := d.presence.Ping(ctx, d.thing, patience)
	switch {
	case err == nil:
		d.ok("answer", "culvertd answered in %s", took.Round(time.Millisecond))
	case iotdata.IsNotFound(err):
		d.left("answer")
	case isTimeout(err):
		d.warn("answer", "its policy must allow iot:Receive on topic/"+presence.PingTopic(d.thing)+"; a link that broke a moment ago looks the same",
			"culvertd acknowledged nothing within %v", patience)
	default:
		d.unknown(ctx, "answer", "iot:SendDirectMessage on client/"+d.client, err)
	}
	return true
}

// AWS waits for the acknowledgement, in whole seconds, and its own answer takes a moment more.
const (
	pingTimeout = 3 * time.Second
	pingMargin  = 500 * time.Millisecond
)
