package iotsecuretunneling

import (
	"context"
	"errors"
)

// ListTunnelsAPIClient is what a paginator needs of a Client.
type ListTunnelsAPIClient interface {
	ListTunnels(context.Context, *ListTunnelsInput, ...func(*Options)) (*ListTunnelsOutput, error)
}

// ListTunnelsPaginatorOptions configure a paginator.
type ListTunnelsPaginatorOptions struct {
	Limit int32 // tunnels in a page, 1 to 100; 0 leaves it to the service
	// StopOnDuplicateToken ends the list when the service returns the token that it was sent.
	StopOnDuplicateToken bool
}

// ListTunnelsPaginator visits the pages of ListTunnels.
type ListTunnelsPaginator struct {
	options   ListTunnelsPaginatorOptions
	client    ListTunnelsAPIClient
	params    ListTunnelsInput
	nextToken *string
	started   bool
}

// NewListTunnelsPaginator returns a paginator that begins at params.NextToken. Nil params list all tunnels.
func NewListTunnelsPaginator(client ListTunnelsAPIClient, params *ListTunnelsInput, optFns ...func(*ListTunnelsPaginatorOptions)) *ListTunnelsPaginator {
	p := &ListTunnelsPaginator{client: client}
	if params != nil {
		p.params = *params
	}
	if p.params.MaxResults != nil {
		p.options.Limit = *p.params.MaxResults
	}
	for _, fn := range optFns {
		fn(&p.options)
	}
	p.nextToken = p.params.NextToken
	return p
}

// HasMorePages reports whether there is a next page.
func (p *ListTunnelsPaginator) HasMorePages() bool {
	return !p.started || p.nextToken != nil && *p.nextToken != ""
}

// NextPage returns the next page. Errors are those of ListTunnels.
func (p *ListTunnelsPaginator) NextPage(ctx context.Context, optFns ...func(*Options)) (*ListTunnelsOutput, error) {
	if !p.HasMorePages() {
		return nil, errors.New("no more pages available")
	}
	params := p.params
	params.NextToken = p.nextToken
	params.MaxResults = nil
	if p.options.Limit > 0 {
		params.MaxResults = &p.options.Limit
	}
	out, err := p.client.ListTunnels(ctx, &params, optFns...)
	if err != nil {
		return nil, err
	}
	p.started = true
	before := p.nextToken
	p.nextToken = out.NextToken
	if p.options.StopOnDuplicateToken && before != nil && p.nextToken != nil && *before == *p.nextToken {
		p.nextToken = nil
	}
	return out, nil
}
