package connect

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// answerTime is how long a caller who is leaving waits for the answer to OpenTunnel.
const answerTime = 5 * time.Second

// errLate ends a call whose answer did not come within answerTime, errUnsent one that was not made yet.
var (
	errLate   = errors.New("the answer did not come in time")
	errUnsent = errors.New("the caller has left")
)

// create calls OpenTunnel. When ctx ends, the call goes on for answerTime at most: the service may have opened the tunnel
// already, and only the answer tells which one is to be closed. Nothing more is sent then.
func (f *finder) create(ctx context.Context, in *iot.OpenTunnelInput) (*iot.OpenTunnelOutput, error) {
	calling, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { time.AfterFunc(answerTime, func() { cancel(errLate) }) })()
	out, err := f.API.OpenTunnel(calling, in, func(o *iot.Options) {
		o.HTTPClient = sender{o.HTTPClient, func() error {
			if ctx.Err() != nil {
				cancel(errUnsent) // or the call would be repeated
			}
			return context.Cause(ctx)
		}}
	})
	left := ctx.Err() != nil
	switch why := context.Cause(calling); {
	case err == nil:
		f.charged(aws.ToString(out.TunnelId))
		if left {
			f.discard(aws.ToString(out.TunnelId))
		}
	case errors.Is(why, errUnsent):
	case errors.Is(why, errLate), mayHaveOpened(err):
		f.noteLost()
		if left {
			f.closeUnanswered(errors.Is(why, errLate))
		}
	}
	if left {
		return nil, context.Cause(ctx)
	}
	return out, err
}

// charged tells of a tunnel that this side has opened. It is known from then on.
func (f *finder) charged(id string) {
	if f.before != nil {
		f.before[id] = true
	}
	if f.Opened != nil {
		f.Opened(id)
	}
}

// sender sends requests as long as may returns nil.
type sender struct {
	aws.HTTPClient

	may func() error
}

func (s sender) Do(r *http.Request) (*http.Response, error) {
	if err := s.may(); err != nil {
		return nil, err
	}
	return s.HTTPClient.Do(r)
}

// discard closes a tunnel that was opened in vain, within closeTimeout.
func (f *finder) discard(id string) {
	if id == "" || f.Keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	f.closeNow(ctx, id)
}

func (f *finder) closeNow(ctx context.Context, id string) {
	if _, err := f.API.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: &id}); err != nil && !isGone(err) {
		f.notice("tunnel %s is still open: %s", id, hint.Line(operator.Explain(err)))
	}
}
