package endpoints

import (
	"errors"
	"fmt"
	"strings"
)

// Variant selects among the host names of the management API. The zero value is the ordinary one.
type Variant struct {
	FIPS      bool
	DualStack bool
}

// ErrNoEndpoint means that the partition has no host of the requested variant.
var ErrNoEndpoint = errors.New("no such endpoint in this partition")

// A partition is one of AWS's separate clouds. A region's prefix determines its partition, so that
// regions newer than this table work too.
type partition struct {
	name      string
	prefixes  []string
	suffix    string
	dualStack string // suffix of the dual-stack API; empty if there is none
}

// The API's suffixes are from the AWS SDKs' endpoint tables. The reference local proxy documents the
// data hosts of China; those of the isolated partitions presumably follow the API's pattern.
var partitions = []partition{
	{"aws-cn", []string{"cn-"}, "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"aws-us-gov", []string{"us-gov-"}, "amazonaws.com", "api.aws"},
	{"aws-iso", []string{"us-iso-"}, "c2s.ic.gov", ""},
	{"aws-iso-b", []string{"us-isob-"}, "sc2s.sgov.gov", ""},
	{"aws-iso-e", []string{"eu-isoe-"}, "cloud.adc-e.uk", ""},
	{"aws-iso-f", []string{"us-isof-", "eu-isof-"}, "csp.hci.ic.gov", ""},
	{"aws-eusc", []string{"eusc-"}, "amazonaws.eu", "api.amazonwebservices.eu"},
}

var commercial = partition{"aws", nil, "amazonaws.com", "api.aws"}

func lookup(region string) partition {
	for _, p := range partitions {
		for _, prefix := range p.prefixes {
			if strings.HasPrefix(region, prefix) {
				return p
			}
		}
	}
	return commercial
}

// Partition returns the region's partition as in ARNs, for example "aws-cn".
func Partition(region string) string { return lookup(region).name }

// Data returns the region's host name for local proxies, on port 443. It fails if the region is not a
// single label of a host name: regions may come from the network.
func Data(region string) (string, error) {
	if err := valid(region); err != nil {
		return "", err
	}
	return "data.tunneling.iot." + region + "." + lookup(region).suffix, nil
}

// API returns the host name of the region's management API. It fails like [Data], and with
// [ErrNoEndpoint] if the partition has no dual-stack hosts.
func API(region string, v Variant) (string, error) {
	if err := valid(region); err != nil {
		return "", err
	}
	p := lookup(region)
	fips := ""
	if v.FIPS {
		fips = "-fips"
	}
	if !v.DualStack {
		return "api.tunneling.iot" + fips + "." + region + "." + p.suffix, nil
	}
	if p.dualStack == "" {
		return "", fmt.Errorf("dual-stack API host of region %s: partition %s: %w", region, p.name, ErrNoEndpoint)
	}
	return "api.iot-tunneling" + fips + "." + region + "." + p.dualStack, nil
}

// valid accepts only a DNS label (RFC 1123): a region in a notification must not name another host.
func valid(region string) error {
	if region == "" {
		return errors.New("region is empty")
	}
	if len(region) > 63 {
		return fmt.Errorf("region has %d characters, more than the 63 of a host name's label", len(region))
	}
	for _, c := range []byte(region) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("region %q: only a-z, 0-9 and - are allowed", region)
		}
	}
	if region[0] == '-' || region[len(region)-1] == '-' {
		return fmt.Errorf("region %q begins or ends with -", region)
	}
	return nil
}
