package connect_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/operator/connect"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/wsconn"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// cloud is a sandbox with one device, pi-1, within this process.
type cloud struct {
	*sandbox.Sandbox

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// startCloud runs it; device is told of each notification, in a goroutine of its own that ends with its context.
func startCloud(cfg sandbox.Config, device func(context.Context, proxy.Connection)) (*cloud, error) {
	box, err := sandbox.Start(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	c := &cloud{Sandbox: box}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	box.Store.OnNotify(func(thing string, n tunnels.Notify) {
		if thing != "pi-1" {
			return
		}
		c.tasks.Go(func() { device(c.ctx, c.connection(n.ClientAccessToken)) })
	})
	return c, nil
}

func (c *cloud) close() error {
	c.cancel()
	c.tasks.Wait()
	return c.Close()
}

func (c *cloud) connection(token string) proxy.Connection {
	return proxy.Connection{
		Endpoint: c.RelayURL, AccessToken: secret.New(token), ClientToken: secret.New("0123456789abcdef0123456789abcdef-" + secret.New(token).ID()),
		TLS: c.tls(),
	}
}

func (c *cloud) tls() *tls.Config {
	return &tls.Config{RootCAs: c.CA.Pool(), MinVersion: tls.VersionTLS12}
}

// config is that of an operator who has the sandbox for AWS.
func (c *cloud) config() connect.Config {
	return connect.Config{
		API: iot.New(iot.Options{Region: c.Region, BaseEndpoint: aws.String(c.APIURL), Credentials: aws.CredentialsProviderFunc(
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "thing"}, nil
			}), Retryer: hurried()}),
		Region: c.Region, DataEndpoint: c.RelayURL, TLS: c.tls(),
		Destination: connect.V3, // Auto lets a client wait that speaks first
	}
}

// hurried sends as often as the SDK's clients do, with shorter waits.
func hurried() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 50 * time.Millisecond })
}

// culvertDevice serves every service with handle, like a culvertd that keeps no connections.
func culvertDevice(handle func(net.Conn)) func(context.Context, proxy.Connection) {
	return keepingDevice(0, handle)
}

// keepingDevice is a culvertDevice that keeps connections for a while.
func keepingDevice(keep time.Duration, handle func(net.Conn)) func(context.Context, proxy.Connection) {
	process := proxy.NewResumption(keep)
	return func(ctx context.Context, c proxy.Connection) {
		d := proxy.NewDestination(proxy.DestinationConfig{
			Connection: c,
			DialService: func(context.Context, string) (net.Conn, error) {
				return harness.DialHandler(handle)
			},
			DefaultService: func(list []string) (string, error) { return list[0], nil },
			Resume:         process,
		})
		_ = d.Run(ctx)
		if ctx.Err() != nil {
			process.Close()
		}
	}
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// deviceClient does what the AWS IoT Device Client is known to do: it speaks V1 alone, and where a source speaks another
// version it drops its websocket and connects again. It echoes.
func deviceClient(ctx context.Context, cfg proxy.Connection) { v1Client(ctx, cfg, 0) }

// v1Client is a deviceClient that drops so many websockets also when a V1 stream starts: as if what the source had sent
// in another form had arrived then.
func v1Client(ctx context.Context, cfg proxy.Connection, drops int) {
	cfg.Mode = "destination"
	for ctx.Err() == nil {
		conn, err := wsconn.Dial(ctx, cfg)
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close(1000, "") })
		for in := frame.NewReader(conn); ; {
			var m frame.Message
			if err := in.Next(&m); err != nil {
				break
			}
			if m.Type != frame.ServiceIDs && (m.ServiceID != "" || m.ConnectionID != 0) {
				break // version mismatch
			}
			if m.Type == frame.StreamStart && drops > 0 {
				drops--
				break
			}
			if m.Type == frame.Data {
				b, err := m.AppendFrame(nil)
				if err != nil || conn.WriteBuffers(b) != nil {
					break
				}
			}
		}
		stop()
		_ = conn.Close(1000, "")
	}
}
