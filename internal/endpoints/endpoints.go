// Package endpoints holds the host names of AWS IoT Secure Tunneling for a region in every AWS partition.
//
// It knows no ports, no paths and no overrides, and it never falls back from a FIPS name to a plain one:
// whoever asked for FIPS must not get less without a word.
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

// ErrNoEndpoint says that the partition has no host of the variant that was asked for.
var ErrNoEndpoint = errors.New("no such endpoint in this partition")

// A partition is one of AWS's separate clouds. Regions are told apart by their prefix, so that a region
// younger than this table follows its partition's pattern.
type partition struct {
	name      string
	prefixes  []string
	suffix    string
	dualStack string // suffix of the dual-stack API; empty: none exists
}

// The API's suffixes are those of the AWS SDKs' endpoint tables. The data hosts of China are documented by
// the reference local proxy; those of the isolated partitions are presumed to follow the API's pattern.
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

// Partition returns the name of the region's partition as ARNs have it, for example "aws-cn".
func Partition(region string) string { return lookup(region).name }

// Data returns the host name that local proxies of the region connect to, port 443. It fails on a region
// that cannot be one label of a host name, since regions also come from the network.
func Data(region string) (string, error) {
	if err := valid(region); err != nil {
		return "", err
	}
	return "data.tunneling.iot." + region + "." + lookup(region).suffix, nil
}

// API returns the host name of the region's management API. It fails like Data, and with ErrNoEndpoint
// where the partition has no dual-stack hosts.
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

// valid keeps to what a DNS label may be (RFC 1123): a region from a notification must not be able to
// name another host.
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
