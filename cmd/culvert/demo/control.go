package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
)

// token is a secret that can be read from the control API's answers.
type token struct{ secret.Value }

// UnmarshalText takes the token over.
func (t *token) UnmarshalText(text []byte) error {
	t.Value = secret.New(string(text))
	return nil
}

type destinationConfig struct {
	ThingName string   `json:"thingName"`
	Services  []string `json:"services"`
}

// tunnel is what OpenTunnel and RotateTunnelAccessToken return.
type tunnel struct {
	ID                     string `json:"tunnelId"`
	SourceAccessToken      token  `json:"sourceAccessToken"`
	DestinationAccessToken token  `json:"destinationAccessToken"`
}

// control calls one operation of the sandbox's control API, in the AWS JSON 1.1 wire protocol. The signature has the
// form that AWS demands and no meaning: the sandbox has no keys to check it with.
func (r *run) control(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.box.APIURL+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "IoTSecuredTunneling."+operation)
	req.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	req.Header.Set("Authorization", fmt.Sprintf(
		"AWS4-HMAC-SHA256 Credential=DEMO/%s/%s/IoTSecuredTunneling/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%s",
		now.Format("20060102"), r.box.Region, strings.Repeat("0", 64)))
	// No web proxy of the environment: the sandbox is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", operation, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", operation, resp.Status, answer)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}
