package doctor

import (
	"cmp"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/culvert-iot/culvert/internal/netdial"
)

// route is where the last call went.
type route struct {
	mu       sync.Mutex
	host     string     // as in the URL, with a port that is not the scheme's
	answered bool       // the service has, whatever it said
	dialled  string     // host:port: the service's, or a web proxy's for plain HTTP
	proxy    string     // URL of the web proxy for TLS; "" if there is none
	address  netip.Addr // that answered; zero if none did
}

// forget is called before other calls.
func (r *route) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.host, r.answered, r.dialled, r.proxy, r.address = "", false, "", "", netip.Addr{}
}

// last returns the host of the last call, "" if there was none, and whether it answered.
func (r *route) last() (host string, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.host, r.answered
}

// routed is an HTTP client that notes where its calls go.
type routed struct {
	*route
	client aws.HTTPClient
}

// routedBy returns a client that notes in r where the calls of another one go; nil is the SDK's own.
func routedBy(r *route, client aws.HTTPClient) *routed {
	if client == nil {
		client = awshttp.NewBuildableClient()
	}
	return &routed{r, client}
}

// Do sends a request.
func (r *routed) Do(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err // it is not sent, and its host has no part in that
	}
	r.mu.Lock()
	r.host, r.answered, r.proxy = req.URL.Host, false, proxyFor(req.URL)
	r.mu.Unlock()
	resp, err := r.client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
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
	r.mu.Lock()
	r.answered = err == nil
	r.mu.Unlock()
	return resp, err
}

// proxyFor returns the web proxy of a call with TLS. The dialer of these calls sees to it, past net/http and its trace.
func proxyFor(u *url.URL) string {
	if u.Scheme != "https" {
		return ""
	}
	proxy, _, err := netdial.FromEnvironment().Via(net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	if err != nil {
		return "" // the call fails with the same error
	}
	return proxy
}

// AddressOf returns the address of a connection's end, or the zero value if it has none.
func AddressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// endpoint says whether a VPC endpoint may lie on the way of the calls: IAM's simulation does not know its policy.
func (d *doctor) endpoint(r *route) {
	r.mu.Lock()
	host, dialled, proxy, address := (&url.URL{Host: r.host}).Hostname(), r.dialled, r.proxy, r.address
	r.mu.Unlock()
	const id = "endpoint"
	asked, _, err := net.SplitHostPort(dialled)
	switch {
	case !address.IsValid() || err != nil:
		return // no connection, which other lines say
	case proxy != "" || asked != host:
		d.skipped(id, "", "unknown: calls to %s go through the web proxy %s", host, cmp.Or(proxy, dialled))
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
