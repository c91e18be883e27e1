package doctor

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/operator/retries"
	"github.com/culvert-iot/culvert/operator/signed"
)

// iamClient calls AWS IAM's query API, for the two operations that doctor needs: the SDK's module would make up a fifth of
// the program.
type iamClient struct {
	cfg              aws.Config
	endpoint, region string
}

// iamHosts has IAM's endpoint and signing region by partition (AWS IAM endpoints and quotas): one each.
var iamHosts = map[string][2]string{
	"aws":        {"https://iam.amazonaws.com", "us-east-1"},
	"aws-cn":     {"https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"},
	"aws-us-gov": {"https://iam.us-gov.amazonaws.com", "us-gov-west-1"},
}

func newIAM(cfg aws.Config, partition string) *iamClient {
	host := iamHosts[partition]
	c := &iamClient{cfg, host[0], host[1]}
	for _, name := range []string{"AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL"} {
		if url := os.Getenv(name); url != "" {
			c.endpoint = url
			break
		}
	}
	return c
}

// simulate returns IAM's judgement of each action on a resource, for a call that has these context values.
func (c *iamClient) simulate(ctx context.Context, source string, actions []string, resource string, values []contextValue) ([]simulation, error) {
	form := url.Values{"PolicySourceArn": {source}, "ResourceArns.member.1": {resource}}
	for i, v := range append([]contextValue{{"aws:SecureTransport", "boolean", []string{"true"}}}, values...) {
		entry := "ContextEntries.member." + strconv.Itoa(i+1) + "."
		form.Set(entry+"ContextKeyName", v.key)
		form.Set(entry+"ContextKeyType", v.kind)
		for k, value := range v.values {
			form.Set(entry+"ContextKeyValues.member."+strconv.Itoa(k+1), value)
		}
	}
	for i, a := range actions {
		form.Set("ActionNames.member."+strconv.Itoa(i+1), a)
	}
	var out struct {
		Results []simulation `xml:"SimulatePrincipalPolicyResult>EvaluationResults>member"`
	}
	err := c.call(ctx, "SimulatePrincipalPolicy", form, &out)
	if err == nil && len(out.Results) < len(actions) {
		err = errNoSimulation
	}
	return out.Results, err
}

// roleARN returns the ARN of a role, with its path.
func (c *iamClient) roleARN(ctx context.Context, name string) (string, error) {
	var out struct {
		ARN string `xml:"GetRoleResult>Role>Arn"`
	}
	err := c.call(ctx, "GetRole", url.Values{"RoleName": {name}}, &out)
	return out.ARN, err
}

// call sends a call, and repeats it as the SDK does.
func (c *iamClient) call(ctx context.Context, operation string, form url.Values, out any) error {
	form.Set("Action", operation)
	form.Set("Version", "2010-05-08")
	retryer := retries.Of(c.cfg)
	err := retries.Do(ctx, retryer, retryer.IsErrorRetryable, func() error { return c.send(ctx, form.Encode(), out) })
	if err != nil {
		return &smithy.OperationError{ServiceID: "IAM", OperationName: operation, Err: err}
	}
	return nil
}

func (c *iamClient) send(ctx context.Context, form string, out any) error {
	if c.endpoint == "" {
		return fmt.Errorf("the endpoint of IAM is not known for this partition")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.endpoint, "/")+"/", strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := signed.Sign(ctx, c.cfg.Credentials, req, []byte(form), "iam", c.region); err != nil {
		return err
	}
	resp, body, err := signed.Send(c.cfg.HTTPClient, req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Code    string `xml:"Error>Code"`
			Message string `xml:"Error>Message"`
		}
		_ = xml.Unmarshal(body, &e) // a web page of a proxy may be no XML
		if e.Code == "" {
			e.Code = http.StatusText(resp.StatusCode)
		}
		return &smithyhttp.ResponseError{
			Response: resp, Err: &smithy.GenericAPIError{Code: e.Code, Message: e.Message},
		}
	}
	return xml.Unmarshal(body, out)
}
