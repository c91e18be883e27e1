package doctor

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTheEndpointsAddressSaysWhetherAVPCEndpointDecides(t *testing.T) {
	const host = "api.tunneling.iot.eu-west-1.amazonaws.com"
	for _, tt := range []struct {
		name, dialled, address string
		status                 Status
		words                  string
	}{
		{"private", host + ":443", "10.0.3.7", OK, "10.0.3.7: probably a VPC endpoint"},
		{"private, IPv6", host + ":443", "fd00::7", OK, "probably a VPC endpoint"},
		{"public", host + ":443", "52.1.2.3", OK, "no VPC endpoint's policy applies"},
		{"public, IPv6, as VPC endpoints may have", host + ":443", "2600:1f18::1", Skipped, "may be a VPC endpoint"},
		{"a proxy in the own network", "proxy.example:3128", "10.0.0.1", Skipped, "web proxy proxy.example:3128"},
		{"this machine", host + ":443", "127.0.0.1", OK, "is this machine"},
	} {
		var d doctor
		d.endpoint(&route{host: host, dialled: tt.dialled, address: netip.MustParseAddr(tt.address)})
		if len(d.results) != 1 || d.results[0].Status != tt.status || !strings.Contains(d.results[0].Text, tt.words) {
			t.Errorf("%s: %+v", tt.name, d.results)
		}
	}
	var d doctor
	if d.endpoint(&route{host: host, dialled: host + ":443"}); len(d.results) > 0 {
		t.Errorf("without a connection: %+v", d.results)
	}
}
