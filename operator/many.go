package operator

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

const (
	// attemptsForMany bounds the attempts of one call among many.
	attemptsForMany = 10

	// patienceForMany is how long a client's calls are repeated while AWS throttles them all. With the SDK's delays, which
	// double up to 20 s, the last of attemptsForMany would come after two minutes.
	patienceForMany = time.Minute

	maxDelay     = 20 * time.Second // the SDK's
	noticeableIn = time.Second      // a wait that a person should hear of
)

// ForMany returns cfg for a command that calls AWS for many things at once, and so meets its limits of calls a second.
// Its client repeats a throttled call more often, and has no quota of retries that all things share, as the SDK's has.
// Once a service has throttled all calls for a minute and answered none, no call is repeated until one is answered: each
// thing would cost as much time. A number of attempts or a mode that the user has set stays; in place of the minute is then
// the time that so many attempts of one call may take.
//
// waiting, which may be nil, is called before a call waits to be repeated, if the service will have throttled all calls for a
// second or more when the wait is over.
func ForMany(cfg aws.Config, waiting func()) aws.Config {
	attempts, patience := attemptsForMany, patienceForMany
	if cfg.RetryMaxAttempts != 0 {
		attempts, patience = cfg.RetryMaxAttempts, longest(cfg.RetryMaxAttempts)
	}
	if waiting == nil {
		waiting = func() {}
	}
	set := func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None
	}
	adaptive := cfg.RetryMode == aws.RetryModeAdaptive
	cfg.Retryer = func() aws.Retryer {
		p := &patient{patience: patience, waiting: waiting}
		if adaptive {
			p.RetryerV2 = retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) { o.StandardOptions = append(o.StandardOptions, set) })
		} else {
			p.RetryerV2 = retry.NewStandard(set)
		}
		return p
	}
	return cfg
}

// longest returns how long so many attempts of one call may take, by the SDK's delays.
func longest(attempts int) (d time.Duration) {
	for i := 1; i < attempts; i++ {
		d += min(time.Second<<min(i, 10), maxDelay)
	}
	return d
}

// patient is the retryer of one client, whose calls share their patience.
type patient struct {
	aws.RetryerV2

	patience time.Duration
	waiting  func()

	mu    sync.Mutex
	since time.Time // when the service began to throttle all calls; zero while it answers
}

// IsErrorRetryable ends the repetitions when the patience has.
func (p *patient) IsErrorRetryable(err error) bool {
	if isThrottle(err) && p.throttled() >= p.patience {
		return false
	}
	return p.RetryerV2.IsErrorRetryable(err)
}

// RetryDelay tells of a wait if the waits are noticeable by its end.
func (p *patient) RetryDelay(attempt int, err error) (time.Duration, error) {
	delay, delayErr := p.RetryerV2.RetryDelay(attempt, err)
	if delayErr == nil && isThrottle(err) && p.throttled()+delay >= noticeableIn {
		p.waiting()
	}
	return delay, delayErr
}

// throttled returns for how long the service has throttled all calls.
func (p *patient) throttled() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		return 0
	}
	return time.Since(p.since)
}

// GetInitialToken notes how the attempt ends, as GetAttemptToken and GetRetryToken do. Package retries calls it.
func (p *patient) GetInitialToken() func(error) error {
	var r aws.Retryer = p.RetryerV2
	return p.noting(r.GetInitialToken())
}

// GetAttemptToken is for the SDK's clients.
func (p *patient) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	release, err := p.RetryerV2.GetAttemptToken(ctx)
	return p.noting(release), err
}

// GetRetryToken is for repetitions.
func (p *patient) GetRetryToken(ctx context.Context, failure error) (func(error) error, error) {
	release, err := p.RetryerV2.GetRetryToken(ctx, failure)
	return p.noting(release), err
}

// noting returns a release of a token that notes whether the service throttled the attempt.
func (p *patient) noting(release func(error) error) func(error) error {
	if release == nil {
		return nil
	}
	return func(err error) error {
		p.mu.Lock()
		switch {
		case !isThrottle(err):
			p.since = time.Time{}
		case p.since.IsZero():
			p.since = time.Now()
		}
		p.mu.Unlock()
		return release(err)
	}
}

func isThrottle(err error) bool {
	return err != nil && retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
}
