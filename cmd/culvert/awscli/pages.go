package awscli

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// position is where a list that was cut continues: the page, and how many of its tunnels were printed. Its form is the
// AWS CLI's.
type position struct {
	NextToken *string `json:"nextToken"`
	Skip      int     `json:"boto_truncate_amount,omitempty"`
}

// pages returns one list of all pages, or as much as --max-items asks for. With --max-results or --next-token, the user
// pages.
func (r *run) pages(client *iotsecuretunneling.Client, in *iotsecuretunneling.ListTunnelsInput, stamp func(time.Time) any) (any, error) {
	flags := r.cmd.Flags()
	own := flags.Changed("max-items") || flags.Changed("starting-token") || flags.Changed("page-size")
	manual := r.globals.noPaginate || in.MaxResults != nil || in.NextToken != nil
	switch {
	case manual && own:
		return nil, usagef("--max-items, --starting-token and --page-size cannot be given with --no-paginate, --max-results or --next-token")
	case r.maxItems < 0 || r.pageSize < 0:
		return nil, usagef("--max-items and --page-size cannot be negative")
	}
	ctx := r.cmd.Context()
	if manual {
		out, err := client.ListTunnels(ctx, in)
		if err != nil {
			return nil, err
		}
		return result(out, stamp), nil
	}
	if r.pageSize > 0 {
		n := int32(min(r.pageSize, 1<<30))
		in.MaxResults = &n
	}
	at, err := parsePosition(r.startingToken)
	if err != nil {
		return nil, err
	}
	all := &iotsecuretunneling.ListTunnelsOutput{TunnelSummaries: []types.TunnelSummary{}}
	for {
		in.NextToken = at.NextToken
		out, err := client.ListTunnels(ctx, in)
		if err != nil {
			return nil, err
		}
		page := out.TunnelSummaries[min(at.Skip, len(out.TunnelSummaries)):]
		more := out.NextToken != nil && *out.NextToken != ""
		if room := r.maxItems - len(all.TunnelSummaries); r.maxItems > 0 && (len(page) > room || len(page) == room && more) {
			rest := position{NextToken: out.NextToken}
			if len(page) > room {
				rest = position{NextToken: at.NextToken, Skip: at.Skip + room}
			}
			all.TunnelSummaries = append(all.TunnelSummaries, page[:room]...)
			object, _ := result(all, stamp).(output.Object)
			return append(object, output.Member{Name: "NextToken", Value: rest.String()}), nil
		}
		all.TunnelSummaries = append(all.TunnelSummaries, page...)
		if !more {
			return result(all, stamp), nil
		}
		at = position{NextToken: out.NextToken}
	}
}

func (p position) String() string {
	text, _ := json.Marshal(p) // strings and numbers always encode
	return base64.StdEncoding.EncodeToString(text)
}

func parsePosition(token string) (p position, err error) {
	if token == "" {
		return p, nil
	}
	text, err := base64.StdEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil || p.Skip < 0 {
		return p, usagef("Bad starting token: %s: it is not a NextToken that --max-items printed", token)
	}
	return p, nil
}
