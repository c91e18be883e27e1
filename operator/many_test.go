package operator

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/operator/retries"
)

func TestCallsForManyAreRepeatedUntilTheLimitAllowsThem(t *testing.T) {
	r := ForMany(aws.Config{}, nil).Retryer()
	throttled := &smithy.GenericAPIError{Code: "ThrottlingException"}
	if r.MaxAttempts() != attemptsForMany || !r.IsErrorRetryable(throttled) {
		t.Errorf("%d attempts, throttling repeated: %v", r.MaxAttempts(), r.IsErrorRetryable(throttled))
	}
	for i := range 500 { // the SDK's own quota lasts for a hundred
		if _, err := r.GetRetryToken(t.Context(), throttled); err != nil {
			t.Fatalf("repetition %d: %v", i, err)
		}
	}
	if n := ForMany(aws.Config{RetryMaxAttempts: 2}, nil).Retryer().MaxAttempts(); n != 2 {
		t.Errorf("%d attempts, the user wants 2", n)
	}
	if n := ForMany(aws.Config{RetryMode: aws.RetryModeAdaptive}, nil).Retryer().MaxAttempts(); n != attemptsForMany {
		t.Errorf("adaptive: %d attempts", n)
	}
}

// A service that throttles everything costs its wait once, and not for each thing.
func TestThingsShareTheirPatienceWithThrottling(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg         aws.Config
		least, most time.Duration
		notices     bool
	}{
		"by default":        {aws.Config{}, 50 * time.Second, 90 * time.Second, true},
		"adaptive":          {aws.Config{RetryMode: aws.RetryModeAdaptive}, 50 * time.Second, 90 * time.Second, true},
		"the user's number": {aws.Config{RetryMaxAttempts: 5}, 30 * time.Second, 60 * time.Second, true},
		"no more than once": {aws.Config{RetryMaxAttempts: 1}, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, told := time.Now(), []time.Duration{}
				r := ForMany(tt.cfg, func() { told = append(told, time.Since(began)) }).Retryer()
				var answer error = &smithy.GenericAPIError{Code: "ThrottlingException"}
				call := func() (sent int, err error) {
					err = retries.Do(t.Context(), r, r.IsErrorRetryable, func() error {
						sent++
						return answer
					})
					return sent, err
				}
				for range 1000 {
					if _, err := call(); err == nil {
						t.Fatal("no error")
					}
				}
				if took := time.Since(began); took < tt.least || took > tt.most {
					t.Errorf("%v, want %v to %v", took, tt.least, tt.most)
				}
				if tt.notices != (len(told) > 0) || len(told) > 0 && told[0] > noticeableIn {
					t.Errorf("told after %v", told)
				}
				answer = nil
				if _, err := call(); err != nil {
					t.Error(err)
				}
				answer = &smithy.GenericAPIError{Code: "ThrottlingException"}
				if sent, _ := call(); (sent > 1) != (r.MaxAttempts() > 1) {
					t.Errorf("after an answer a call is sent %d times", sent)
				}
			})
		})
	}
}
