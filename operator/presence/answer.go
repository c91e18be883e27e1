package presence

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/iotdata"
)

const (
	maxAnswer   = 8 << 10 // bytes of an answer; culvertd's have a few hundred
	maxServices = 32
	maxName     = 128
)

// Answer is a culvertd's report on itself. Its texts are safe to print.
type Answer struct {
	Version  string
	Uptime   time.Duration // of the daemon
	Services []Service
}

// Service is a service of a device.
type Service struct {
	Name     string
	Disabled bool
}

// Describe returns one line: version, uptime and services.
func (a Answer) Describe() string {
	var names []string
	for _, s := range a.Services {
		if s.Disabled {
			s.Name += " (disabled)"
		}
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	return fmt.Sprintf("culvertd %s, up for %s, services: %s", a.Version, Rough(a.Uptime), strings.Join(names, ", "))
}

// Ask is a [Client.Ping] that also asks for an answer. Pass mark to [Client.Answer].
func (c *Client) Ask(ctx context.Context, thing string, timeout time.Duration) (mark string, took time.Duration, err error) {
	mark = rand.Text()
	took, err = c.ping(ctx, thing, `{"answer":"`+mark+`"}`, timeout)
	return mark, took, err
}

// ErrNoAnswer is the error of [Client.Answer] when the device acknowledged a ping but does not answer it.
var ErrNoAnswer = errors.New("the device does not answer")

// The pauses between looks for an answer. A device that has never answered probably never will. One that has just
// answered another operator waits 2 s before its next answer.
var looks = []time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, // for any device
	750 * time.Millisecond, time.Second, time.Second,
}

const firstLooks = 4

// Answer returns the answer to the ping that mark belongs to, and waits for it: up to 0.8 s for a device that has never
// answered anything, otherwise up to 3.5 s. The error is [ErrNoAnswer] if there is none.
func (c *Client) Answer(ctx context.Context, thing, mark string) (Answer, error) {
	data, err := c.dataPlane(ctx)
	if err != nil {
		return Answer{}, err
	}
	for i := 0; ; i++ {
		m, err := data.GetRetainedMessage(ctx, PongTopic(thing))
		switch {
		case err == nil:
			if a, ok := decodeAnswer(m.Payload, mark); ok {
				return a, nil
			}
		case !iotdata.IsNotFound(err):
			return Answer{}, err
		}
		if i == len(looks) || err != nil && i == firstLooks {
			return Answer{}, ErrNoAnswer
		}
		select {
		case <-time.After(looks[i]):
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
}

// LastAnswer returns what a thing's culvertd last said of itself, to any operator. The error is [ErrNoAnswer] if it never
// answered a ping.
func (c *Client) LastAnswer(ctx context.Context, thing string) (Answer, error) {
	data, err := c.dataPlane(ctx)
	if err != nil {
		return Answer{}, err
	}
	m, err := data.GetRetainedMessage(ctx, PongTopic(thing))
	switch {
	case iotdata.IsNotFound(err):
		return Answer{}, ErrNoAnswer
	case err != nil:
		return Answer{}, err
	}
	if a, ok := decodeAnswer(m.Payload, ""); ok {
		return a, nil
	}
	return Answer{}, ErrNoAnswer
}

// decodeAnswer reads a message that a device has published, which may hold any bytes. It reports false if that is no
// answer to the ping that mark belongs to; "" stands for any ping.
func decodeAnswer(payload []byte, mark string) (Answer, bool) {
	var p struct {
		Asked    []string `json:"asked"`
		Version  string   `json:"version"`
		Uptime   int64    `json:"uptime"`
		Services []struct {
			Name     string `json:"name"`
			Disabled bool   `json:"disabled"`
		} `json:"services"`
	}
	if len(payload) > maxAnswer || json.Unmarshal(payload, &p) != nil || mark != "" && !slices.Contains(p.Asked, mark) {
		return Answer{}, false
	}
	const century = 100 * 365 * 24 * time.Hour
	a := Answer{
		Version: clean.Line(p.Version, 64),
		Uptime:  time.Duration(min(max(0, p.Uptime), int64(century/time.Second))) * time.Second,
	}
	for _, s := range p.Services[:min(len(p.Services), maxServices)] {
		a.Services = append(a.Services, Service{clean.Line(s.Name, maxName), s.Disabled})
	}
	return a, true
}
