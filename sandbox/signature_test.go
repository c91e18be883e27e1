package sandbox_test

import (
	"net/http"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
)

// The AWS SDKs for Go and Python sign calls of AWS IoT's registry for different services.
func TestTheRegistryTakesTheSignaturesOfEverySDK(t *testing.T) {
	box, err := sandbox.Start(t.Context(), sandbox.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for service, want := range map[string]int{"iot": http.StatusOK, "execute-api": http.StatusOK, "s3": http.StatusForbidden} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, box.APIURL+"/endpoint?endpointType=iot:Data-ATS", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/"+service+"/aws4_request, SignedHeaders=host, Signature=00")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("signed for %s: %s, want %d", service, res.Status, want)
		}
	}
}
