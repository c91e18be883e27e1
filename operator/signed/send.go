package signed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/internal/version"
)

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 1 << 20

// Sign signs req, whose body is body, as Signature Version 4 has it. service is the name that the service signs with.
func Sign(ctx context.Context, p aws.CredentialsProvider, req *http.Request, body []byte, service, region string) error {
	credentials, err := p.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), service, region, time.Now())
}

// Send sends req and reads the answer's body, of whatever status, up to 1 MiB; it closes the body. An error of the network is a
// *smithyhttp.RequestSendError, which the SDK's retryers repeat.
func Send(client aws.HTTPClient, req *http.Request) (*smithyhttp.Response, []byte, error) {
	req.Header.Set("User-Agent", "culvert/"+version.Get().Version)
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, &smithyhttp.RequestSendError{Err: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	return &smithyhttp.Response{Response: resp}, answer, nil
}
