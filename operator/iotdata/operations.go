package iotdata

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/smithy-go"
)

// Connection is what the service knows of an MQTT client (GetConnection).
type Connection struct {
	Connected         bool   `json:"connected"`
	ClientID          string `json:"clientId"`
	ThingName         string `json:"thingName"`         // of the certificate; "" if it has none
	CleanSession      bool   `json:"cleanSession"`      // the client asked for no persistent session
	KeepAliveDuration int    `json:"keepAliveDuration"` // seconds
	SessionExpiry     int    `json:"sessionExpiry"`     // seconds
	ConnectedSince    int64  `json:"connectedSince"`    // milliseconds since the epoch
	DisconnectedSince int64  `json:"disconnectedSince"` // the same; 0 if it never disconnected
	DisconnectReason  string `json:"disconnectReason"`  // such as DUPLICATE_CLIENTID
	SourceIP          string `json:"sourceIp"`          // with socket information only
	SourcePort        int    `json:"sourcePort"`
	VPCEndpointID     string `json:"vpcEndpointId"`
}

// Since returns when the connection began, or when it ended if the client is not connected; the zero time if the
// service does not say.
func (c *Connection) Since() time.Time {
	ms := c.DisconnectedSince
	if c.Connected {
		ms = c.ConnectedSince
	}
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// GetConnection returns the state of an MQTT client. socketInformation adds the client's address, which needs a
// permission of its own. For a client id that has never connected, the service may answer with an error that
// [IsNotFound] recognises, or with a connection that is not connected.
func (c *Client) GetConnection(ctx context.Context, clientID string, socketInformation bool) (*Connection, error) {
	query := url.Values{}
	if socketInformation {
		query.Set("includeSocketInformation", "true")
	}
	out := new(Connection)
	err := c.call(ctx, request{operation: "GetConnection", method: http.MethodGet, clientID: clientID, query: query}, out)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Subscription is one topic filter of a client.
type Subscription struct {
	TopicFilter string `json:"topicFilter"`
	QoS         int    `json:"qos"`
}

// maxPages bounds what one client's subscriptions may come to: AWS IoT allows 50 for each connection.
const maxPages = 20

// ListSubscriptions returns the subscriptions of a client's session, all pages of it.
func (c *Client) ListSubscriptions(ctx context.Context, clientID string) ([]Subscription, error) {
	var list []Subscription
	query := url.Values{"maxResults": {"200"}}
	for range maxPages {
		var page struct {
			Subscriptions []Subscription `json:"subscriptions"`
			NextToken     string         `json:"nextToken"`
		}
		err := c.call(ctx, request{
			operation: "ListSubscriptions", method: http.MethodGet, clientID: clientID, below: "/subscriptions", query: query,
		}, &page)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Subscriptions...)
		if page.NextToken == "" {
			return list, nil
		}
		query.Set("nextToken", page.NextToken)
	}
	return list, nil
}

// DirectMessage is a message to one client. The receiver needs no subscription, but iot:Receive on the topic.
type DirectMessage struct {
	ClientID      string
	Topic         string
	ResponseTopic string // may be empty
	Payload       []byte

	// Timeout is how long the service waits for the client's PUBACK, in whole seconds. 0 sends the message
	// with QoS 0 and waits for nothing.
	Timeout time.Duration
}

// SendDirectMessage sends m, and with a Timeout returns when the client has acknowledged it. Without an
// acknowledgement in time the error is one that [IsTimeout] recognises. It is not repeated after errors that leave open
// whether the client received it.
func (c *Client) SendDirectMessage(ctx context.Context, m DirectMessage) error {
	query := url.Values{"topic": {m.Topic}}
	if m.ResponseTopic != "" {
		query.Set("responseTopic", m.ResponseTopic)
	}
	if m.Timeout > 0 {
		query.Set("confirmation", "true")
		query.Set("timeout", strconv.Itoa(int(max(1, m.Timeout/time.Second))))
	}
	body := m.Payload
	if body == nil {
		body = []byte{}
	}
	return c.call(ctx, request{
		operation: "SendDirectMessage", method: http.MethodPost, clientID: m.ClientID, below: "/messages",
		query: query, body: body, once: true,
	}, nil)
}

// DeleteConnection disconnects a client. cleanSession ends its persistent session, too.
func (c *Client) DeleteConnection(ctx context.Context, clientID string, cleanSession bool) error {
	query := url.Values{}
	if cleanSession {
		query.Set("cleanSession", "true")
	}
	return c.call(ctx, request{operation: "DeleteConnection", method: http.MethodDelete, clientID: clientID, query: query}, nil)
}

// RetainedMessage is the retained message of a topic.
type RetainedMessage struct {
	Topic            string `json:"topic"`
	Payload          []byte `json:"payload"` // whatever the publisher wrote
	QoS              int    `json:"qos"`
	LastModifiedTime int64  `json:"lastModifiedTime"` // milliseconds since the epoch
}

// GetRetainedMessage returns the retained message of a topic. If there is none, the error is one that [IsNotFound]
// recognises.
func (c *Client) GetRetainedMessage(ctx context.Context, topic string) (*RetainedMessage, error) {
	out := new(RetainedMessage)
	if err := c.call(ctx, request{operation: "GetRetainedMessage", method: http.MethodGet, topic: topic}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// IsNotFound reports whether the service knows no such client, or no such retained message.
func IsNotFound(err error) bool { return hasCode(err, "ResourceNotFoundException") }

// IsDenied reports whether the caller lacks the permission for a call.
func IsDenied(err error) bool {
	return hasCode(err, "ForbiddenException") || hasCode(err, "AccessDeniedException") || hasCode(err, "UnauthorizedException")
}

// IsTimeout reports whether the client did not acknowledge a message in time.
func IsTimeout(err error) bool { return hasCode(err, "GatewayTimeoutException") }

func hasCode(err error, code string) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && e.ErrorCode() == code
}
