package operator

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

func TestCallsForManyAreRepeatedUntilTheLimitAllowsThem(t *testing.T) {
	r := ForMany(aws.Config{}).Retryer()
	throttled := &smithy.GenericAPIError{Code: "ThrottlingException"}
	if r.MaxAttempts() != attemptsForMany || !r.IsErrorRetryable(throttled) {
		t.Errorf("%d attempts, throttling repeated: %v", r.MaxAttempts(), r.IsErrorRetryable(throttled))
	}
	for i := range 500 { // the SDK's own quota lasts for a hundred
		if _, err := r.GetRetryToken(t.Context(), throttled); err != nil {
			t.Fatalf("repetition %d: %v", i, err)
		}
	}
	if n := ForMany(aws.Config{RetryMaxAttempts: 2}).Retryer().MaxAttempts(); n != 2 {
		t.Errorf("%d attempts, the user wants 2", n)
	}
	if n := ForMany(aws.Config{RetryMode: aws.RetryModeAdaptive}).Retryer().MaxAttempts(); n != attemptsForMany {
		t.Errorf("adaptive: %d attempts", n)
	}
}
