package retries

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestTheConfigurationSaysHowOftenACallIsSent(t *testing.T) {
	always := func(error) bool { return true }
	never := func(error) bool { return false }
	failure := errors.New("throttled")
	for name, tt := range map[string]struct {
		cfg    aws.Config
		repeat func(error) bool
		fails  int
		want   int
	}{
		"by default":          {aws.Config{}, always, 10, 3},
		"a number":            {aws.Config{RetryMaxAttempts: 5}, always, 10, 5},
		"a number, adaptive":  {aws.Config{RetryMaxAttempts: 2, RetryMode: aws.RetryModeAdaptive}, always, 10, 2},
		"its own retryer":     {aws.Config{RetryMaxAttempts: 5, Retryer: func() aws.Retryer { return New("", 4) }}, always, 10, 4},
		"an error that stays": {aws.Config{}, never, 10, 1},
		"a success":           {aws.Config{}, always, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				err := Do(t.Context(), Of(tt.cfg), tt.repeat, func() error {
					if calls++; calls > tt.fails {
						return nil
					}
					return failure
				})
				if calls != tt.want || (err == nil) != (tt.fails < tt.want) {
					t.Errorf("%d calls, %v", calls, err)
				}
			})
		})
	}
}

func TestNoCallFollowsTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := Do(ctx, New("", 0), func(error) bool { return true }, func() error {
		calls++
		cancel()
		return ctx.Err()
	})
	if calls != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d calls, %v", calls, err)
	}
}
