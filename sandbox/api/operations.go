package api

import (
	"encoding/base64"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// operations by their names (API model). An operation reads all its members before it looks at in.err.
var operations = map[string]func(*API, *input) (any, error){
	"OpenTunnel":              (*API).openTunnel,
	"RotateTunnelAccessToken": (*API).rotateTunnelAccessToken,
	"CloseTunnel":             (*API).closeTunnel,
	"DescribeTunnel":          (*API).describeTunnel,
	"ListTunnels":             (*API).listTunnels,
	"TagResource":             (*API).tagResource,
	"UntagResource":           (*API).untagResource,
	"ListTagsForResource":     (*API).listTagsForResource,
}

// Forms and limits (API model; the number of services is a quota and no form).
var (
	tunnelIDForm    = form{1, 128, regexp.MustCompile(`^[a-zA-Z0-9_\-+=:]+$`), `[a-zA-Z0-9_\-+=:]{1,128}`}
	descriptionForm = form{1, 2048, regexp.MustCompile(`^[^\p{C}]+$`), `[^\p{C}]{1,2048}`}
	nameForm        = form{1, 128, regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`), `[a-zA-Z0-9:_-]+`}
	arnForm         = form{1, 1011, nil, ""}
	tagKeyForm      = form{1, 128, tagText, tagShown}
	tagValueForm    = form{0, 256, tagText, tagShown}
	nextTokenForm   = form{1, 4096, regexp.MustCompile(`^[a-zA-Z0-9_=-]+$`), `[a-zA-Z0-9_=-]{1,4096}`}

	tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

const (
	tagShown    = `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`
	maxTags     = 200
	maxLifetime = 720 // minutes
	maxPage     = 100
)

func (a *API) openTunnel(in *input) (any, error) {
	description, tags, destination := in.text("description", descriptionForm), in.tags(), in.destination()
	minutes := 0
	if t := in.object("timeoutConfig"); t != nil {
		minutes = t.integer("maxLifetimeTimeoutMinutes", 1, maxLifetime)
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	if err := a.quota(destination); err != nil {
		return nil, err
	}
	opened, err := a.cfg.Store.Open(tunnels.OpenInput{
		Description: description, Tags: tags, Destination: destination, Lifetime: time.Duration(minutes) * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	return struct {
		TunnelID               string `json:"tunnelId"`
		TunnelARN              string `json:"tunnelArn"`
		SourceAccessToken      string `json:"sourceAccessToken"`
		DestinationAccessToken string `json:"destinationAccessToken"`
	}{opened.Tunnel.ID, opened.Tunnel.ARN, opened.SourceToken, opened.DestinationToken}, nil
}

// quota is that of the services in a tunnel.
func (a *API) quota(d *tunnels.DestinationConfig) error {
	if d == nil || len(d.Services) <= a.cfg.MaxServices {
		return nil
	}
	return &Error{Type: typeLimit, Message: fmt.Sprintf("A tunnel can have %d services.", a.cfg.MaxServices)}
}

func (a *API) rotateTunnelAccessToken(in *input) (any, error) {
	id, mode, destination := in.tunnelID(), "", in.destination()
	if in.need("clientMode") {
		mode = in.enum("clientMode", tunnels.RotateSource, tunnels.RotateDestination, tunnels.RotateAll)
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	if err := a.quota(destination); err != nil {
		return nil, err
	}
	rotated, err := a.cfg.Store.Rotate(id, mode, destination)
	if err != nil {
		return nil, err
	}
	return struct {
		TunnelARN              string `json:"tunnelArn"`
		SourceAccessToken      string `json:"sourceAccessToken,omitempty"`
		DestinationAccessToken string `json:"destinationAccessToken,omitempty"`
	}{rotated.ARN, rotated.SourceToken, rotated.DestinationToken}, nil
}

func (a *API) closeTunnel(in *input) (any, error) {
	id, del := in.tunnelID(), in.boolean("delete")
	if err := in.err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.cfg.Store.Close(id, del)
}

func (a *API) describeTunnel(in *input) (any, error) {
	id := in.tunnelID()
	if err := in.err(); err != nil {
		return nil, err
	}
	t, err := a.cfg.Store.Describe(id)
	if err != nil {
		return nil, err
	}
	return map[string]tunnelOut{"tunnel": describe(t)}, nil
}

func (a *API) listTunnels(in *input) (any, error) {
	thing, size, next := in.text("thingName", nameForm), in.integer("maxResults", 1, maxPage), in.text("nextToken", nextTokenForm)
	if err := in.err(); err != nil {
		return nil, err
	}
	all := a.cfg.Store.List(thing)
	if next != "" {
		var err error
		if all, err = after(all, thing, next); err != nil {
			return nil, err
		}
	}
	if size == 0 {
		size = maxPage
	}
	out := struct {
		TunnelSummaries []summaryOut `json:"tunnelSummaries"`
		NextToken       string       `json:"nextToken,omitempty"`
	}{TunnelSummaries: []summaryOut{}}
	for i, t := range all {
		if i == size {
			out.NextToken = pageToken(thing, all[i-1])
			break
		}
		out.TunnelSummaries = append(out.TunnelSummaries, summarize(t))
	}
	return out, nil
}

// pageToken names the last tunnel of a page, and what the list was asked for.
func pageToken(thing string, last tunnels.Tunnel) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s %s", last.Created.UnixNano(), last.ID, thing))
}

// after returns what follows the page that token ended. Tunnels that were deleted meanwhile do not matter.
func after(all []tunnels.Tunnel, thing, token string) ([]tunnels.Tunnel, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	fields := strings.SplitN(string(text), " ", 3)
	var nanos int64
	if err == nil && len(fields) == 3 {
		_, err = fmt.Sscan(fields[0], &nanos)
	}
	if err != nil || len(fields) != 3 || fields[2] != thing {
		return nil, &Error{Type: typeValidation, Message: "The nextToken is not valid for this request."}
	}
	for i, t := range all {
		if t.ID == fields[1] {
			return all[i+1:], nil
		}
	}
	for i, t := range all {
		if t.Created.UnixNano() < nanos {
			return all[i:], nil
		}
	}
	return nil, nil
}

func (a *API) tagResource(in *input) (any, error) {
	arn, tags := in.arn(), in.tags()
	in.need("tags")
	if err := in.err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.cfg.Store.Tag(arn, tags)
}

func (a *API) untagResource(in *input) (any, error) {
	arn := in.arn()
	var keys []string
	if in.need("tagKeys") {
		keys = in.texts("tagKeys", 0, maxTags, tagKeyForm)
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.cfg.Store.Untag(arn, keys)
}

func (a *API) listTagsForResource(in *input) (any, error) {
	arn := in.arn()
	if err := in.err(); err != nil {
		return nil, err
	}
	tags, err := a.cfg.Store.Tags(arn)
	if err != nil {
		return nil, err
	}
	return map[string][]tagOut{"tags": tagsOut(tags)}, nil
}

func (in *input) tunnelID() string {
	in.need("tunnelId")
	return in.text("tunnelId", tunnelIDForm)
}

func (in *input) arn() string {
	in.need("resourceArn")
	return in.text("resourceArn", arnForm)
}

func (in *input) tags() (tags []tunnels.Tag) {
	for _, e := range in.list("tags", 1, maxTags) {
		if !e.need("member") {
			continue
		}
		tag := e.object("member")
		if tag == nil {
			continue
		}
		tag.need("key")
		tag.need("value")
		tags = append(tags, tunnels.Tag{Key: tag.text("key", tagKeyForm), Value: tag.text("value", tagValueForm)})
	}
	return tags
}

func (in *input) destination() *tunnels.DestinationConfig {
	d := in.object("destinationConfig")
	if d == nil {
		return nil
	}
	out := &tunnels.DestinationConfig{ThingName: d.text("thingName", nameForm)}
	if d.need("services") {
		out.Services = d.texts("services", 1, math.MaxInt, nameForm)
	}
	return out
}
