package connect_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator/connect"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// leaving is a control API whose caller leaves when the service has opened a tunnel and the answer is on its way.
type leaving struct {
	connect.API

	leave func()
}

func (l *leaving) OpenTunnel(ctx context.Context, in *iot.OpenTunnelInput, opts ...func(*iot.Options)) (*iot.OpenTunnelOutput, error) {
	out, err := l.API.OpenTunnel(ctx, in, opts...)
	l.leave()
	if ctx.Err() != nil { // the client does not read the answer then
		return nil, ctx.Err()
	}
	return out, err
}

func TestAnInterruptedOpeningLeavesNoTunnel(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	for name, tt := range map[string]struct {
		keep  bool
		opens int
		left  int
		leave func(*connect.Config, context.CancelFunc) // arranges for the moment
	}{
		"before the answer": {opens: 1, leave: func(cfg *connect.Config, cancel context.CancelFunc) {
			cfg.API = &leaving{cfg.API, cancel}
		}},
		"before the answer, with Keep": {keep: true, opens: 1, left: 1, leave: func(cfg *connect.Config, cancel context.CancelFunc) {
			cfg.API = &leaving{cfg.API, cancel}
		}},
		"before the request": {leave: func(cfg *connect.Config, cancel context.CancelFunc) {
			cfg.API = iot.New(iot.Options{Region: c.Region, BaseEndpoint: aws.String(c.APIURL), Credentials: aws.CredentialsProviderFunc(
				func(context.Context) (aws.Credentials, error) { // as slow as a user who looks for a security key
					cancel()
					return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "thing"}, nil
				})})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(c.Store.List("pi-1"))
			ctx, cancel := context.WithCancel(within(t, 20*time.Second))
			defer cancel()
			cfg, heard := c.config(), &news{}
			cfg.New, cfg.Keep, cfg.Progress = true, tt.keep, heard.event // no tunnel is looked at first
			tt.leave(&cfg, cancel)
			if _, err := connect.Open(ctx, cfg, "pi-1", "SSH"); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want that of the context", err)
			}
			if n := len(c.Store.List("pi-1")) - before; n != tt.opens {
				t.Errorf("%d tunnels were opened, want %d", n, tt.opens)
			}
			if open := c.open(); len(open) != tt.left {
				t.Errorf("open tunnels %v, want %d\n%s", open, tt.left, heard)
			}
			for _, id := range c.open() {
				_ = c.Store.Close(id, false)
			}
		})
	}
}
