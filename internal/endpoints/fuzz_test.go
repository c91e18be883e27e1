package endpoints

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzRegion: a region, which may come from the network, names no host but one of AWS's own, and is one label of it.
func FuzzRegion(f *testing.F) {
	for _, region := range []string{
		"eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1",
		"", "-", "a.b", "a/b", "a@b", "a:1", "A", "a#", "é", strings.Repeat("a", 64), "eu-west-1.evil.example", "eu-west-1\n",
	} {
		f.Add(region)
	}
	suffixes := []string{commercial.suffix, commercial.dualStack}
	for _, p := range partitions {
		suffixes = append(suffixes, p.suffix, p.dualStack)
	}
	f.Fuzz(func(t *testing.T, region string) {
		hosts := []string{}
		add := func(host string, err error) {
			if err == nil {
				hosts = append(hosts, host)
			}
		}
		add(Data(region))
		for _, v := range []Variant{{}, {FIPS: true}, {DualStack: true}, {FIPS: true, DualStack: true}} {
			add(API(region, v))
		}
		for _, host := range hosts {
			u, err := url.Parse("wss://" + host)
			if err != nil || u.Hostname() != host || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
				t.Fatalf("region %q makes %q, which is no bare host name", region, host)
			}
			_, suffix, found := strings.Cut(host, "."+region+".")
			if !found || !slices.Contains(suffixes, suffix) || strings.Contains(region, ".") {
				t.Errorf("region %q makes %q, which is not in a domain of AWS", region, host)
			}
		}
	})
}
