package iotsecuretunneling_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/endpoints"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// recorder answers nothing and records the request's host.
type recorder struct{ url, authorization string }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.url, r.authorization = req.URL.String(), req.Header.Get("Authorization")
	return nil, errors.New("not sent")
}

// source is a configuration source such as a profile of the shared file.
type source struct {
	url             string
	fips, dualStack bool
	ignore          bool
}

func (s source) GetServiceBaseEndpoint(_ context.Context, id string) (string, bool, error) {
	return s.url, s.url != "" && id == "IoTSecureTunneling", nil
}

func (s source) GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error) {
	return s.ignore, s.ignore, nil
}

func (s source) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	return aws.FIPSEndpointStateEnabled, s.fips, nil
}

func (s source) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	return aws.DualStackEndpointStateEnabled, s.dualStack, nil
}

func TestEndpoints(t *testing.T) {
	const global, special = "http://global:1", "http://special:2"
	tests := []struct {
		name    string
		region  string
		base    string
		env     map[string]string
		sources []any
		want    string // "" : an error
	}{
		{name: "commercial", region: "eu-west-1", want: "https://api.tunneling.iot.eu-west-1.amazonaws.com/"},
		{name: "China", region: "cn-north-1", want: "https://api.tunneling.iot.cn-north-1.amazonaws.com.cn/"},
		{name: "GovCloud", region: "us-gov-west-1", want: "https://api.tunneling.iot.us-gov-west-1.amazonaws.com/"},
		{name: "isolated", region: "us-iso-east-1", want: "https://api.tunneling.iot.us-iso-east-1.c2s.ic.gov/"},
		{name: "European sovereign", region: "eusc-de-east-1", want: "https://api.tunneling.iot.eusc-de-east-1.amazonaws.eu/"},
		{name: "FIPS", region: "us-east-1", sources: []any{source{fips: true}}, want: "https://api.tunneling.iot-fips.us-east-1.amazonaws.com/"},
		{name: "dual stack", region: "us-east-1", sources: []any{source{dualStack: true}}, want: "https://api.iot-tunneling.us-east-1.api.aws/"},
		{name: "dual stack where there is none", region: "us-iso-east-1", sources: []any{source{dualStack: true}}},
		{name: "a region that is no name", region: "a.b/"},
		{name: "a general URL", region: "r", base: global, want: global + "/"},
		{name: "one of the shared file", region: "r", sources: []any{source{url: special}}, want: special + "/"},
		{name: "the general one of the environment before the file's", region: "r", base: global, env: map[string]string{"AWS_ENDPOINT_URL": global}, sources: []any{source{url: special}}, want: global + "/"},
		{
			name: "the special one of the environment before the general one", region: "r", base: global, sources: []any{source{url: special}},
			env: map[string]string{"AWS_ENDPOINT_URL": global, "AWS_ENDPOINT_URL_IOTSECURETUNNELING": special}, want: special + "/",
		},
		{name: "configured ones that are to be ignored", region: "eu-west-1", sources: []any{source{url: special}, source{ignore: true}}, want: "https://api.tunneling.iot.eu-west-1.amazonaws.com/"},
		{name: "a path", region: "r", base: "https://host/api", want: "https://host/api/"},
		{name: "no URL", region: "r", base: "host:80"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			r := &recorder{}
			cfg := aws.Config{Region: tt.region, Credentials: keys, HTTPClient: r, ConfigSources: tt.sources, RetryMaxAttempts: 1}
			if tt.base != "" {
				cfg.BaseEndpoint = &tt.base
			}
			_, err := iot.NewFromConfig(cfg).ListTunnels(t.Context(), nil)
			if err == nil || r.url != tt.want {
				t.Errorf("called %q, want %q; %v", r.url, tt.want, err)
			}
			if scope := fmt.Sprintf("/%s/IoTSecuredTunneling/aws4_request, ", tt.region); tt.want != "" && !strings.Contains(r.authorization, scope) {
				t.Errorf("no %q in %q", scope, r.authorization)
			}
		})
	}
	if got := iot.New(iot.Options{EndpointOptions: endpoints.Variant{FIPS: true}}).Options().EndpointOptions; !got.FIPS {
		t.Error("options are lost")
	}
}
