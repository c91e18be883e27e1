package doctor

import (
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// routed is an HTTP client that notes where its calls go.
type routed struct {
	client aws.HTTPClient

	mu      sync.Mutex
	host    string     // of the last request
	dialled string     // host:port: the service's, or a web proxy's
	address netip.Addr // that answered; zero if none did
}

// Do sends a request.
func (r *routed) Do(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.host = req.URL.Hostname()
	r.mu.Unlock()
	return r.client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn: func(hostPort string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.dialled = hostPort
		},
		GotConn: func(info httptrace.GotConnInfo) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.address = AddressOf(info.Conn.RemoteAddr())
		},
	})))
}

// AddressOf returns the address of a connection's end, or the zero value if it has none.
func AddressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// endpoint says whether a VPC endpoint may lie on the way of the calls: IAM's simulation does not know its policy.
func (d *doctor) endpoint(r *routed) {
	r.mu.Lock()
	host, dialled, address := r.host, r.dialled, r.address
	r.mu.Unlock()
	const id = "endpoint"
	asked, _, err := net.SplitHostPort(dialled)
	switch {
	case !address.IsValid() || err != nil:
		return // no connection, which other lines say
	case asked != host:
		d.skipped(id, "", "unknown: calls to %s go through the web proxy %s", host, dialled)
	case address.IsLoopback():
		d.ok(id, "%s is this machine", host)
	case address.IsPrivate():
		d.ok(id, "%s has a private address, %s: probably a VPC endpoint, whose policy decides as well and cannot be read from here", host, address)
	case address.Is4():
		d.ok(id, "%s has a public address, %s: no VPC endpoint's policy applies", host, address)
	default:
		d.skipped(id, "", "unknown: %s is at %s, which may be a VPC endpoint", host, address)
	}
}
