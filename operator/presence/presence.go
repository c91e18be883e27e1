package presence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/iotdata"
)

// ClientID is the MQTT client id of culvertd for a thing, unless its configuration names another (mqtt.client_id).
func ClientID(thing string) string { return thing + "-tunnel" }

// PingTopic is the topic of pings, which culvertd acknowledges.
func PingTopic(thing string) string { return "culvert/" + thing + "/ping" }

// PongTopic is the topic whose retained message is culvertd's last answer, if its configuration allows answers
// (mqtt.answer_pings).
func PongTopic(thing string) string { return "culvert/" + thing + "/pong" }

// State is what AWS IoT says of an agent's MQTT connection. Its texts are safe to print.
type State struct {
	ClientID  string
	Known     bool // the client has connected at some time
	Connected bool
	Since     time.Time // of the connection, or of its end; zero if AWS does not say
	Reason    string    // why the last connection ended, such as MQTT_KEEP_ALIVE_TIMEOUT; "" if it stands
	Address   string    // of the client; "" without the permission to see it
	Thing     string    // that the client's certificate belongs to; "" if AWS does not say
}

// Ago returns for how long the state has held, rounded for a person; "" if AWS does not say.
func (s State) Ago(now time.Time) string {
	if s.Since.IsZero() {
		return ""
	}
	return Rough(now.Sub(s.Since))
}

// Describe returns one line about the connection of a thing's agent.
func (s State) Describe(thing string, now time.Time) string {
	from := ""
	if s.Address != "" {
		from = " from " + s.Address
	}
	ago := s.Ago(now)
	switch {
	case s.Connected && ago != "":
		return fmt.Sprintf("%s is connected%s, for %s", thing, from, ago)
	case s.Connected:
		return fmt.Sprintf("%s is connected%s", thing, from)
	case !s.Known:
		return fmt.Sprintf("%s has never connected as %s", thing, s.ClientID)
	}
	text := fmt.Sprintf("%s is not connected", thing)
	if ago != "" {
		text += ": last seen " + ago + " ago" + from
	}
	if s.Reason != "" {
		text += " (" + s.Reason + ")"
	}
	return text
}

// Rough prints a duration as a person says it: "12 s", "5 min", "3 h", "2 days".
func Rough(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// Client asks for the state of agents. Its methods are safe for concurrent use.
type Client struct {
	cfg aws.Config

	mu     sync.Mutex
	data   *iotdata.Client
	failed error     // why there is no data; see dataPlane
	at     time.Time // of failed

	access access
}

// New returns a client. It calls AWS only when it is asked.
func New(cfg aws.Config) *Client { return &Client{cfg: cfg} }

// Look returns the state of the client that culvertd has for a thing.
func (c *Client) Look(ctx context.Context, thing string) (State, error) {
	return c.LookClient(ctx, ClientID(thing))
}

// LookClient returns the state of an MQTT client. A client that AWS does not know is a State that is not Known, and no
// error. Without the permission to see addresses, the state comes without one.
func (c *Client) LookClient(ctx context.Context, clientID string) (State, error) {
	data, err := c.dataPlane(ctx)
	if err != nil {
		return State{}, err
	}
	connection, err := c.access.connection(ctx, data, clientID)
	switch {
	case iotdata.IsNotFound(err):
		return State{ClientID: clientID}, nil
	case err != nil:
		return State{}, err
	}
	s := State{
		ClientID: clientID, Connected: connection.Connected, Since: connection.Since(),
		Address: clean.Line(connection.SourceIP, 64), Thing: clean.Line(connection.ThingName, 128),
	}
	s.Known = s.Connected || !s.Since.IsZero()
	if !s.Connected && connection.DisconnectReason != "NONE" {
		s.Reason = clean.Line(connection.DisconnectReason, 64)
	}
	return s, nil
}

// Subscriptions returns the topic filters of an MQTT client.
func (c *Client) Subscriptions(ctx context.Context, clientID string) ([]iotdata.Subscription, error) {
	data, err := c.dataPlane(ctx)
	if err != nil {
		return nil, err
	}
	return data.ListSubscriptions(ctx, clientID)
}

// Ping sends culvertd a message and returns how long it took until AWS IoT had its acknowledgement. Errors that
// [iotdata.IsTimeout], [iotdata.IsNotFound] and [iotdata.IsDenied] recognise say what is missing.
func (c *Client) Ping(ctx context.Context, thing string, timeout time.Duration) (time.Duration, error) {
	return c.ping(ctx, thing, "{}", timeout)
}

func (c *Client) ping(ctx context.Context, thing, payload string, timeout time.Duration) (time.Duration, error) {
	data, err := c.dataPlane(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = data.SendDirectMessage(ctx, iotdata.DirectMessage{
		ClientID: ClientID(thing), Topic: PingTopic(thing), Payload: []byte(payload), Timeout: timeout,
	})
	return time.Since(start), err
}

// failureLife is how long a look-up of the endpoint that failed answers for the next ones: many things are asked about at
// once, and each would wait for the network or for AWS in turn.
const failureLife = time.Second

// dataPlane returns the client of the account's endpoint, which is looked up once. A refusal stands: iot:DescribeEndpoint
// is allowed or not, whatever the thing.
func (c *Client) dataPlane(ctx context.Context) (*iotdata.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data != nil {
		return c.data, nil
	}
	if c.failed != nil && (iotdata.IsDenied(c.failed) || time.Since(c.at) < failureLife) {
		return nil, c.failed
	}
	endpoint, err := c.Endpoint(ctx)
	if err != nil {
		if ctx.Err() == nil { // the end of this caller's context says nothing to others
			c.failed, c.at = err, time.Now()
		}
		return nil, err
	}
	c.data = iotdata.NewFromConfig(c.cfg, endpoint)
	return c.data, nil
}

// Endpoint returns the account's data endpoint (iot:Data-ATS): that of the environment
// (AWS_ENDPOINT_URL_IOT_DATA_PLANE), or one that AWS named before, or the one that DescribeEndpoint names now.
func (c *Client) Endpoint(ctx context.Context) (string, error) {
	if url := os.Getenv("AWS_ENDPOINT_URL_IOT_DATA_PLANE"); url != "" {
		return url, nil
	}
	key := c.cacheKey(ctx)
	if endpoint := cachedEndpoint(key); endpoint != "" {
		return endpoint, nil
	}
	out, err := iot.NewFromConfig(c.cfg).DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return "", err
	}
	endpoint := aws.ToString(out.EndpointAddress)
	if endpoint == "" {
		return "", errors.New("AWS IoT named no data endpoint")
	}
	rememberEndpoint(key, endpoint)
	return endpoint, nil
}

// cacheKey tells accounts, regions and endpoints apart; "" if that cannot be done.
func (c *Client) cacheKey(ctx context.Context) string {
	if c.cfg.Credentials == nil || c.cfg.BaseEndpoint != nil {
		return "" // an endpoint of the user's own may change from run to run
	}
	credentials, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil || credentials.AccessKeyID == "" {
		return ""
	}
	account := credentials.AccountID
	if account == "" {
		account = credentials.AccessKeyID
	}
	return c.cfg.Region + "/" + account
}
