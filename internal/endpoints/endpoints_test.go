package endpoints

import (
	"errors"
	"strings"
	"testing"
)

func TestHostsOfEveryPartition(t *testing.T) {
	tests := []struct{ region, partition, data, api, fips, dual string }{
		{"eu-west-1", "aws", "data.tunneling.iot.eu-west-1.amazonaws.com", "api.tunneling.iot.eu-west-1.amazonaws.com", "api.tunneling.iot-fips.eu-west-1.amazonaws.com", "api.iot-tunneling.eu-west-1.api.aws"},
		{"us-east-1", "aws", "data.tunneling.iot.us-east-1.amazonaws.com", "api.tunneling.iot.us-east-1.amazonaws.com", "api.tunneling.iot-fips.us-east-1.amazonaws.com", "api.iot-tunneling.us-east-1.api.aws"},
		{"cn-north-1", "aws-cn", "data.tunneling.iot.cn-north-1.amazonaws.com.cn", "api.tunneling.iot.cn-north-1.amazonaws.com.cn", "api.tunneling.iot-fips.cn-north-1.amazonaws.com.cn", "api.iot-tunneling.cn-north-1.api.amazonwebservices.com.cn"},
		{"us-gov-west-1", "aws-us-gov", "data.tunneling.iot.us-gov-west-1.amazonaws.com", "api.tunneling.iot.us-gov-west-1.amazonaws.com", "api.tunneling.iot-fips.us-gov-west-1.amazonaws.com", "api.iot-tunneling.us-gov-west-1.api.aws"},
		{"us-iso-east-1", "aws-iso", "data.tunneling.iot.us-iso-east-1.c2s.ic.gov", "api.tunneling.iot.us-iso-east-1.c2s.ic.gov", "api.tunneling.iot-fips.us-iso-east-1.c2s.ic.gov", ""},
		{"us-isob-east-1", "aws-iso-b", "data.tunneling.iot.us-isob-east-1.sc2s.sgov.gov", "api.tunneling.iot.us-isob-east-1.sc2s.sgov.gov", "api.tunneling.iot-fips.us-isob-east-1.sc2s.sgov.gov", ""},
		{"eu-isoe-west-1", "aws-iso-e", "data.tunneling.iot.eu-isoe-west-1.cloud.adc-e.uk", "api.tunneling.iot.eu-isoe-west-1.cloud.adc-e.uk", "api.tunneling.iot-fips.eu-isoe-west-1.cloud.adc-e.uk", ""},
		{"us-isof-south-1", "aws-iso-f", "data.tunneling.iot.us-isof-south-1.csp.hci.ic.gov", "api.tunneling.iot.us-isof-south-1.csp.hci.ic.gov", "api.tunneling.iot-fips.us-isof-south-1.csp.hci.ic.gov", ""},
		{"eusc-de-east-1", "aws-eusc", "data.tunneling.iot.eusc-de-east-1.amazonaws.eu", "api.tunneling.iot.eusc-de-east-1.amazonaws.eu", "api.tunneling.iot-fips.eusc-de-east-1.amazonaws.eu", "api.iot-tunneling.eusc-de-east-1.api.amazonwebservices.eu"},
		{"zz-future-9", "aws", "data.tunneling.iot.zz-future-9.amazonaws.com", "api.tunneling.iot.zz-future-9.amazonaws.com", "api.tunneling.iot-fips.zz-future-9.amazonaws.com", "api.iot-tunneling.zz-future-9.api.aws"},
	}
	for _, tt := range tests {
		t.Run(tt.region, func(t *testing.T) {
			if got := Partition(tt.region); got != tt.partition {
				t.Errorf("Partition = %s, want %s", got, tt.partition)
			}
			if got, err := Data(tt.region); got != tt.data || err != nil {
				t.Errorf("Data = %s, %v; want %s", got, err, tt.data)
			}
			if got, err := API(tt.region, Variant{}); got != tt.api || err != nil {
				t.Errorf("API = %s, %v; want %s", got, err, tt.api)
			}
			if got, err := API(tt.region, Variant{FIPS: true}); got != tt.fips || err != nil {
				t.Errorf("API with FIPS = %s, %v; want %s", got, err, tt.fips)
			}
			got, err := API(tt.region, Variant{DualStack: true})
			if got != tt.dual || errors.Is(err, ErrNoEndpoint) != (tt.dual == "") {
				t.Errorf("dual-stack API = %q, %v; want %q", got, err, tt.dual)
			}
			wantBoth := strings.Replace(tt.dual, "iot-tunneling", "iot-tunneling-fips", 1)
			if got, _ := API(tt.region, Variant{FIPS: true, DualStack: true}); got != wantBoth {
				t.Errorf("dual-stack FIPS API = %q, want %q", got, wantBoth)
			}
		})
	}
}

func TestARegionThatCouldNameAnotherHostIsRefused(t *testing.T) {
	for _, region := range []string{"", "evil.example.com/", "eu-west-1.evil", "eu west 1", "EU-WEST-1", "-eu", "eu-", "eu_west_1", "eu-west-1\n", "é", strings.Repeat("a", 64)} {
		if host, err := Data(region); err == nil {
			t.Errorf("Data(%q) = %s", region, host)
		}
		if host, err := API(region, Variant{}); err == nil {
			t.Errorf("API(%q) = %s", region, host)
		}
	}
}
