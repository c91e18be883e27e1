package retries

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// New returns a retryer of the SDK. attempts is how often it sends a call at most (AWS_MAX_ATTEMPTS, or a profile's
// max_attempts); 0 is the SDK's own number.
func New(mode aws.RetryMode, attempts int) aws.Retryer {
	set := func(o *retry.StandardOptions) {
		if attempts > 0 {
			o.MaxAttempts = attempts
		}
	}
	if mode == aws.RetryModeAdaptive {
		return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) { o.StandardOptions = append(o.StandardOptions, set) })
	}
	return retry.NewStandard(set)
}

// Of returns the retryer of a configuration.
func Of(cfg aws.Config) aws.Retryer {
	if cfg.Retryer != nil {
		return cfg.Retryer()
	}
	return New(cfg.RetryMode, cfg.RetryMaxAttempts)
}

// Do calls send until it succeeds, its error is not to be repeated, ctx ends, or r gives up. It returns the last error.
func Do(ctx context.Context, r aws.Retryer, repeat func(error) bool, send func() error) error {
	for attempt := 1; ; attempt++ {
		release := r.GetInitialToken()
		err := send()
		_ = release(err) // as the SDK's clients do, for a retryer that counts
		if err == nil || ctx.Err() != nil || attempt >= r.MaxAttempts() || !repeat(err) {
			return err
		}
		delay, delayErr := r.RetryDelay(attempt, err)
		if delayErr != nil {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return err
		}
	}
}
