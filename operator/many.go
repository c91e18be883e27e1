package operator

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// attemptsForMany bounds the attempts of one call among many. With the SDK's delays, which double up to 20 s, the last
// comes after about a minute.
const attemptsForMany = 10

// ForMany returns cfg for a command that calls AWS for many things at once, and so meets its limits of calls a second.
// Its client repeats a throttled call more often, and has no quota of retries that all things share, as the SDK's has.
// A number of attempts or a mode that the user has set stays.
func ForMany(cfg aws.Config) aws.Config {
	attempts := cfg.RetryMaxAttempts
	if attempts == 0 {
		attempts = attemptsForMany
	}
	set := func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None
	}
	adaptive := cfg.RetryMode == aws.RetryModeAdaptive
	cfg.Retryer = func() aws.Retryer {
		if adaptive {
			return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) { o.StandardOptions = append(o.StandardOptions, set) })
		}
		return retry.NewStandard(set)
	}
	return cfg
}
