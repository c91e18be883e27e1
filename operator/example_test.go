package operator_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// A tunnel is opened and described. The endpoint is the sandbox's here; leave EndpointURL and NoSignRequest away to call
// AWS.
func ExampleLoadConfig() {
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	cloud := httptest.NewServer(api.New(api.Config{Store: tunnels.New(tunnels.Config{Region: "eu-west-1"}), AllowUnsigned: true}))
	defer cloud.Close()

	ctx := context.Background()
	cfg, err := operator.LoadConfig(ctx, operator.Options{Region: "eu-west-1", EndpointURL: cloud.URL, NoSignRequest: true})
	if err != nil {
		fmt.Println(operator.Explain(err))
		return
	}
	client := iotsecuretunneling.NewFromConfig(cfg)
	opened, err := client.OpenTunnel(ctx, &iotsecuretunneling.OpenTunnelInput{
		DestinationConfig: &types.DestinationConfig{ThingName: aws.String("my-pi"), Services: []string{"SSH"}},
	})
	if err != nil {
		fmt.Println(operator.Explain(err))
		return
	}
	described, err := client.DescribeTunnel(ctx, &iotsecuretunneling.DescribeTunnelInput{TunnelId: opened.TunnelId})
	if err != nil {
		fmt.Println(operator.Explain(err))
		return
	}
	t := described.Tunnel
	fmt.Println(t.Status, *t.DestinationConfig.ThingName, t.DestinationConfig.Services, t.DestinationConnectionState.Status)
	// Output: OPEN my-pi [SSH] DISCONNECTED
}
