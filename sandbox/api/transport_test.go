package api

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestTransport(t *testing.T) {
	tests := []struct {
		name               string
		change             func(*http.Request)
		status             int
		wantType, wantText string
	}{
		{"GET", func(r *http.Request) { r.Method = http.MethodGet }, 404, "UnknownOperationException", "POST /"},
		{"another path", func(r *http.Request) { r.URL.Path = "/tunnels" }, 404, "UnknownOperationException", "POST /"},
		{"no target", func(r *http.Request) { r.Header.Del("X-Amz-Target") }, 404, "UnknownOperationException", ""},
		{"an unknown operation", func(r *http.Request) { r.Header.Set("X-Amz-Target", "IoTSecuredTunneling.OpenTunnels") }, 404, "UnknownOperationException", ""},
		{"another service", func(r *http.Request) { r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTunnels") }, 404, "UnknownOperationException", ""},
		{"no prefix", func(r *http.Request) { r.Header.Set("X-Amz-Target", "ListTunnels") }, 404, "UnknownOperationException", ""},
		{"another protocol", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 404, "UnknownOperationException", "application/x-amz-json-1.1"},
		{"a charset is fine", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-8") }, 200, "", ""},
		{"no signature", func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationTokenException", ""},
		{"basic authentication", func(r *http.Request) { r.SetBasicAuth("a", "b") }, 400, "IncompleteSignatureException", "AWS4-HMAC-SHA256"},
		{"no credential", edit("Credential=", "X="), 400, "IncompleteSignatureException", "'Credential'"},
		{"no signed headers", edit("SignedHeaders=", "X="), 400, "IncompleteSignatureException", "'SignedHeaders'"},
		{"no signature value", edit("Signature=", "X="), 400, "IncompleteSignatureException", "'Signature'"},
		{"a short signature", edit("0a0a", ""), 400, "IncompleteSignatureException", "64"},
		{"the target unsigned", edit(";x-amz-target", ""), 403, "InvalidSignatureException", "x-amz-target"},
		{"a short scope", edit("/aws4_request", ""), 400, "IncompleteSignatureException", "form"},
		{"no key id", edit("AKIAEXAMPLE/", "/"), 400, "IncompleteSignatureException", "form"},
		{"another region", edit("eu-west-1", "us-east-1"), 403, "InvalidSignatureException", "this is eu-west-1"},
		{"another service's scope", edit("IoTSecuredTunneling", "iot"), 403, "InvalidSignatureException", "'IoTSecuredTunneling'"},
		{"the signing name in lower case", edit("IoTSecuredTunneling", "iotsecuredtunneling"), 403, "InvalidSignatureException", "'IoTSecuredTunneling'"},
		{"another terminator", edit("aws4_request", "aws4"), 403, "InvalidSignatureException", "terminator"},
		{"another day in the scope", edit("20260301", "20260302"), 403, "InvalidSignatureException", "scope"},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 400, "IncompleteSignatureException", "X-Amz-Date"},
		{"a clock that is slow", func(r *http.Request) { r.Header.Set("X-Amz-Date", stamp(begin.Add(-6*time.Minute))) }, 403, "InvalidSignatureException", "expired"},
		{"a clock that is fast", func(r *http.Request) { r.Header.Set("X-Amz-Date", stamp(begin.Add(6*time.Minute))) }, 403, "InvalidSignatureException", "not yet current"},
		{"a clock that is about right", func(r *http.Request) { r.Header.Set("X-Amz-Date", stamp(begin.Add(-4*time.Minute))) }, 200, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			r := b.request("ListTunnels", "{}")
			tt.change(r)
			a := b.send(r)
			if tt.wantType == "" {
				if a.status != tt.status {
					t.Errorf("status %d, %v", a.status, a.body)
				}
				return
			}
			b.wantError(a, tt.status, tt.wantType, tt.wantText)
		})
	}
}

func edit(from, to string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
	}
}

func TestUnsignedCallsWhenAllowed(t *testing.T) {
	b := newBench(t, func(c *Config) { c.AllowUnsigned = true })
	r := b.request("ListTunnels", "{}")
	r.Header.Del("Authorization")
	r.Header.Del("X-Amz-Date")
	if a := b.send(r); a.status != http.StatusOK {
		t.Errorf("status %d, %v", a.status, a.body)
	}
	r = b.request("ListTunnels", "{}")
	r.Header.Set("Authorization", "Bearer x")
	b.wantError(b.send(r), 400, "IncompleteSignatureException", "")
}

func TestErrorForms(t *testing.T) {
	b := newBench(t, nil)
	describe := func() answer { return b.send(b.request("DescribeTunnel", `{"tunnelId":"x"}`)) }
	b.wantError(describe(), 400, "ResourceNotFoundException", "x")
	b.api.SetBehaviour(Behaviour{ErrorStatus: 403})
	b.wantError(describe(), 403, "ResourceNotFoundException", "x")
	b.api.SetBehaviour(Behaviour{QualifiedTypes: true})
	a := describe()
	if a.body["__type"] != "com.amazonaws.iot.securedtunneling#ResourceNotFoundException" ||
		!strings.HasPrefix(a.header.Get("x-amzn-ErrorType"), "ResourceNotFoundException:") {
		t.Errorf("qualified: %v, %q", a.body, a.header.Get("x-amzn-ErrorType"))
	}
}

func TestFaults(t *testing.T) {
	b := newBench(t, nil)
	b.api.Throttle(2)
	b.api.Throttle(0)
	if err := b.api.Fail(Fault{Operation: "DescribeTunnel", Type: "AccessDeniedException", Message: "not you", Status: 403}); err != nil {
		t.Fatal(err)
	}
	if got := b.api.PendingFaults(); len(got) != 2 {
		t.Errorf("pending: %+v", got)
	}
	b.refused("ListTunnels", `{}`, "ThrottlingException", "Rate exceeded")
	b.refused("DescribeTunnel", `{"tunnelId":"x"}`, "ThrottlingException", "Rate exceeded")
	b.ok("ListTunnels", `{}`)
	b.wantError(b.send(b.request("DescribeTunnel", `{"tunnelId":"x"}`)), 403, "AccessDeniedException", "not you")
	b.refused("DescribeTunnel", `{"tunnelId":"x"}`, "ResourceNotFoundException", "")
	b.api.Throttle(100)
	b.api.ClearFaults()
	b.ok("ListTunnels", `{}`)
	for _, f := range []Fault{{Operation: "Open"}, {Type: "a b"}, {Type: `"`}, {Status: 200}, {Count: -1}, {Delay: -1}} {
		if err := b.api.Fail(f); err == nil {
			t.Errorf("took %+v", f)
		}
	}
}

func TestDelayedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		for _, f := range []Fault{{Delay: time.Minute}, {Delay: time.Second, Type: "InternalServerException", Status: 500}, {Delay: time.Hour}} {
			if err := b.api.Fail(f); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		b.ok("ListTunnels", `{}`)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("answered after %v", d)
		}
		b.wantError(b.send(b.request("ListTunnels", `{}`)), 500, "InternalServerException", "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		b.api.ServeHTTP(httptest.NewRecorder(), b.request("ListTunnels", `{}`).WithContext(ctx))
		if d := time.Since(start); d != time.Second {
			t.Errorf("a caller that hung up was held for %v", d)
		}
	})
}

func TestLogsHoldNoSecrets(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	out := b.ok("OpenTunnel", `{}`)
	b.refused("DescribeTunnel", `{"tunnelId":"x"}`, "ResourceNotFoundException", "")
	r := b.request("ListTunnels", "{}")
	r.Header.Set("X-Amz-Target", "IoTSecuredTunneling.\x1b[31m"+strings.Repeat("x", 100))
	b.send(r)
	text := log.String()
	for _, secret := range []string{out["sourceAccessToken"].(string), out["destinationAccessToken"].(string), "AKIAEXAMPLE", "0a0a", "\x1b", strings.Repeat("x", 100)} {
		if strings.Contains(text, secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
	if !strings.Contains(text, "OpenTunnel") || !strings.Contains(text, "ResourceNotFoundException") {
		t.Errorf("log:\n%s", text)
	}
}

func FuzzCall(f *testing.F) {
	for op := range operations {
		f.Add(op, `{"tunnelId":"x","clientMode":"ALL","tags":[{"key":"a","value":""}],"tagKeys":["a"],"resourceArn":"a","destinationConfig":{"services":["a"]},"nextToken":"MSAxIA"}`)
	}
	f.Add("OpenTunnel", `{"description":1}`)
	store := tunnels.New(tunnels.Config{Region: "eu-west-1", MaxTunnels: 10})
	api := New(Config{Store: store, AllowUnsigned: true})
	f.Fuzz(func(t *testing.T, operation, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("X-Amz-Target", targetPrefix+operation)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		var out map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code >= 500 || w.Code != 200 && out["__type"] == nil {
			t.Errorf("%s %q: status %d, %q", operation, body, w.Code, w.Body)
		}
	})
}
