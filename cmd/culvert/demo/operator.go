package demo

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
)

// operator is the other end of the tunnel: local ports that lead to the device's services.
type operator struct {
	source    *proxy.Source
	resume    *proxy.Resumption // keeps connections whose tunnel is lost
	addresses map[string]string // of the local ports, by service
	cancel    context.CancelFunc
	tasks     sync.WaitGroup
	ended     chan struct{}
	err       error // why the source ended, after ended
}

// newOperator connects and listens. It lives until close.
func newOperator(ctx context.Context, endpoint string, trust *tls.Config, accessToken token) (*operator, error) {
	// The source outlives the step that starts it.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &operator{
		resume:    proxy.NewResumption(proxy.DefaultResumeTimeout),
		addresses: map[string]string{}, cancel: cancel, ended: make(chan struct{}),
	}
	o.source = proxy.NewSource(proxy.SourceConfig{
		Form: proxy.V3, Resume: o.resume,
		Connection: proxy.Connection{
			Endpoint: endpoint, AccessToken: accessToken, ClientToken: secret.New(rand.Text() + rand.Text()), TLS: trust,
		},
	})
	o.tasks.Go(func() {
		defer close(o.ended)
		o.err = o.source.Run(life)
	})
	select {
	case <-o.source.Ready():
	case <-o.ended:
		return nil, fmt.Errorf("the operator's side did not connect: %w", o.err)
	case <-ctx.Done():
		o.close()
		return nil, context.Cause(ctx)
	}
	for _, service := range o.source.Services() {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			o.close()
			return nil, fmt.Errorf("listen for service %s: %w", service, err)
		}
		o.addresses[service] = l.Addr().String()
		o.tasks.Go(func() { _ = o.source.Serve(life, service, l) })
	}
	return o, nil
}

// alive returns why the source ended, or nil.
func (o *operator) alive() error {
	select {
	case <-o.ended:
		return fmt.Errorf("the operator's side ended: %w", o.err)
	default:
		return nil
	}
}

// close ends the source and waits for it.
func (o *operator) close() {
	o.cancel()
	o.resume.Close()
	o.tasks.Wait()
}
