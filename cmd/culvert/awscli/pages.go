package awscli

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// place is where a list that was cut goes on: the page, and how much of it has been shown. Its form is the AWS CLI's.
type place struct {
	NextToken *string `json:"nextToken"`
	Skip      int     `json:"boto_truncate_amount,omitempty"`
}

// pages makes one list of all pages, as far as wanted. Whoever gives maxResults or nextToken does the paging himself.
func (r *run) pages(client *iotsecuretunneling.Client, params map[string]any, stamp func(time.Time) any) (any, error) {
	_, size := params["maxResults"]
	_, token := params["nextToken"]
	own := r.cmd.Flags().Changed("max-items") || r.cmd.Flags().Changed("starting-token") || r.cmd.Flags().Changed("page-size")
	manual := r.globals.noPaginate || size || token
	switch {
	case manual && own:
		return nil, usagef("--max-items, --starting-token and --page-size cannot be given with --no-paginate, --max-results or --next-token")
	case r.maxItems < 0 || r.pageSize < 0:
		return nil, usagef("--max-items and --page-size cannot be negative")
	}
	in := &iotsecuretunneling.ListTunnelsInput{}
	if err := into(params, in); err != nil {
		return nil, err
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
	at, err := parsePlace(r.startingToken)
	if err != nil {
		return nil, err
	}
	all := []any{}
	for {
		in.NextToken = at.NextToken
		out, err := client.ListTunnels(ctx, in)
		if err != nil {
			return nil, err
		}
		page := []any{}
		for _, t := range out.TunnelSummaries {
			page = append(page, result(t, stamp))
		}
		page = page[min(at.Skip, len(page)):]
		more := out.NextToken != nil && *out.NextToken != ""
		if room := r.maxItems - len(all); r.maxItems > 0 && (len(page) > room || len(page) == room && more) {
			rest := place{NextToken: out.NextToken}
			if len(page) > room {
				rest = place{NextToken: at.NextToken, Skip: at.Skip + room}
			}
			return map[string]any{"tunnelSummaries": append(all, page[:room]...), "NextToken": rest.String()}, nil
		}
		all = append(all, page...)
		if !more {
			return map[string]any{"tunnelSummaries": all}, nil
		}
		at = place{NextToken: out.NextToken}
	}
}

func (p place) String() string {
	text, _ := json.Marshal(p) // strings and numbers always encode
	return base64.StdEncoding.EncodeToString(text)
}

func parsePlace(token string) (p place, err error) {
	if token == "" {
		return p, nil
	}
	text, err := base64.StdEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil || p.Skip < 0 {
		return p, usagef("Bad starting token: %s: it is the NextToken that a run with --max-items has printed", token)
	}
	return p, nil
}
