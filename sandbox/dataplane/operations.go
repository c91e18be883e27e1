package dataplane

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/sandbox/broker"
)

// Limits of the API. Those of timeout are the sandbox's own.
const (
	maxResults     = 200
	defaultResults = 20
	maxMessage     = 128 << 10
	maxTopic       = 256
	defaultTimeout = 5 * time.Second
	maxTimeout     = 60 * time.Second
)

type connection struct {
	Connected         bool   `json:"connected"`
	ClientID          string `json:"clientId"`
	ThingName         string `json:"thingName,omitempty"`
	CleanSession      *bool  `json:"cleanSession,omitempty"`
	KeepAliveDuration int    `json:"keepAliveDuration,omitempty"` // seconds
	SessionExpiry     int    `json:"sessionExpiry,omitempty"`     // seconds
	ConnectedSince    int64  `json:"connectedSince,omitempty"`    // ms since the epoch
	DisconnectedSince int64  `json:"disconnectedSince,omitempty"`
	DisconnectReason  string `json:"disconnectReason,omitempty"`
	SourceIP          string `json:"sourceIp,omitempty"`
	SourcePort        int    `json:"sourcePort,omitempty"`
	TargetIP          string `json:"targetIp,omitempty"`
	TargetPort        int    `json:"targetPort,omitempty"`
}

func (*API) getConnection(c call) (any, error) {
	sockets := c.URL.Query().Get("includeSocketInformation") == "true"
	if sockets && slices.Contains(c.behaviour.Denied, SocketInformation) {
		return nil, c.behaviour.denied("GetConnection with socket information")
	}
	r, ok := c.broker.Connection(c.clientID)
	if !ok {
		if c.behaviour.UnknownIsDisconnected {
			return connection{ClientID: c.clientID}, nil
		}
		return nil, notFound("No connection of client %q is known.", c.clientID)
	}
	out := connection{
		Connected: r.Connected, ClientID: c.clientID, ThingName: r.Thing, CleanSession: &r.CleanSession,
		KeepAliveDuration: int(r.KeepAlive.Seconds()), SessionExpiry: int(r.SessionExpiry.Seconds()),
		ConnectedSince: r.ConnectedSince.UnixMilli(), DisconnectReason: r.DisconnectReason,
	}
	if !r.Connected {
		out.DisconnectedSince = r.DisconnectedSince.UnixMilli()
	}
	if sockets {
		out.SourceIP, out.SourcePort = split(r.Source)
		out.TargetIP, out.TargetPort = split(r.Target)
	}
	return out, nil
}

func split(a net.Addr) (ip string, port int) {
	host, text, _ := net.SplitHostPort(a.String())
	port, _ = strconv.Atoi(text)
	return host, port
}

func (*API) listSubscriptions(c call) (any, error) {
	q := c.URL.Query()
	limit, err := number(q.Get("maxResults"), defaultResults, 1, maxResults)
	if err != nil {
		return nil, invalid("maxResults must be 1 to %d.", maxResults)
	}
	list, ok := c.broker.Subscriptions(c.clientID)
	if !ok {
		return nil, notFound("Client %q has no session.", c.clientID)
	}
	type subscription struct {
		TopicFilter string `json:"topicFilter"`
		QoS         byte   `json:"qos"`
	}
	out := struct {
		Subscriptions []subscription `json:"subscriptions"`
		NextToken     string         `json:"nextToken,omitempty"`
	}{Subscriptions: []subscription{}}
	after := q.Get("nextToken") // the last filter of the page before
	for _, s := range list {
		if after != "" && strings.Compare(s.Filter, after) <= 0 {
			continue
		}
		if len(out.Subscriptions) == limit {
			out.NextToken = out.Subscriptions[limit-1].TopicFilter
			break
		}
		out.Subscriptions = append(out.Subscriptions, subscription{s.Filter, s.QoS})
	}
	return out, nil
}

func (*API) sendDirectMessage(c call) (any, error) {
	q := c.URL.Query()
	m := broker.DirectMessage{
		Topic: q.Get("topic"), Confirm: q.Get("confirmation") == "true",
		ResponseTopic: q.Get("responseTopic"), ContentType: q.Get("contentType"),
	}
	if m.Topic == "" || len(m.Topic) > maxTopic || strings.ContainsAny(m.Topic, "+#\x00") {
		return nil, invalid("topic must have 1 to %d bytes and no wildcard.", maxTopic)
	}
	seconds, err := number(q.Get("timeout"), int(defaultTimeout.Seconds()), 1, int(maxTimeout.Seconds()))
	if err != nil {
		return nil, invalid("timeout must be 1 to %d seconds.", int(maxTimeout.Seconds()))
	}
	if m.Payload, err = io.ReadAll(io.LimitReader(c.Body, maxMessage+1)); err != nil {
		return nil, invalid("The payload could not be read.")
	}
	if len(m.Payload) > maxMessage {
		return nil, &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "The payload has more than 128 KiB."}
	}
	ctx, cancel := context.WithTimeout(c.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	switch err := c.broker.SendDirect(ctx, c.clientID, m); {
	case errors.Is(err, broker.ErrNotConnected):
		return nil, notFound("Client %q is not connected.", c.clientID)
	case errors.Is(err, broker.ErrUnconfirmed):
		return nil, &apiError{http.StatusGatewayTimeout, "GatewayTimeoutException", "The client did not acknowledge the message in time."}
	case err != nil:
		return nil, err
	}
	return map[string]string{"message": "OK"}, nil
}

func (*API) deleteConnection(c call) (any, error) {
	if !c.broker.Disconnect(c.clientID, c.URL.Query().Get("cleanSession") == "true") {
		return nil, notFound("Client %q is not connected.", c.clientID)
	}
	return struct{}{}, nil
}

func (*API) getRetainedMessage(c call) (any, error) {
	topic := c.PathValue("topic")
	m, ok := c.broker.Retained(topic)
	if !ok {
		return nil, notFound("Topic %q has no retained message.", topic)
	}
	return struct {
		Topic            string `json:"topic"`
		Payload          []byte `json:"payload"` // base64
		QoS              byte   `json:"qos"`
		LastModifiedTime int64  `json:"lastModifiedTime"` // ms since the epoch
	}{topic, m.Payload, m.QoS, m.At.UnixMilli()}, nil
}

// number parses a query parameter.
func number(text string, otherwise, least, most int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, errors.New("out of range")
	}
	return n, nil
}
