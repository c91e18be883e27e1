package iotsecuretunneling

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// careful is a retryer that does not do what this service would not like.
type careful struct {
	aws.Retryer

	// once repeats a call only if the one before surely had no effect: the service turned it away, or there was no
	// connection to send it on. An answer that was lost may mean a tunnel that was opened, and is charged for.
	once bool
}

func (r careful) IsErrorRetryable(err error) bool {
	// The SDK takes it for a rate limit. Here it is a quota, which does not change by waiting seconds.
	if _, ok := errors.AsType[*types.LimitExceededException](err); ok {
		return false
	}
	if retryable := r.Retryer.IsErrorRetryable(err); !retryable || !r.once {
		return retryable
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		_, throttled := retry.DefaultThrottleErrorCodes[e.ErrorCode()]
		answer, answered := errors.AsType[*awshttp.ResponseError](err)
		return throttled || answered && answer.HTTPStatusCode() < http.StatusInternalServerError
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// GetAttemptToken keeps the rate limit of adaptive retries, which the plain interface does not show.
func (r careful) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if v2, ok := r.Retryer.(aws.RetryerV2); ok {
		return v2.GetAttemptToken(ctx)
	}
	return r.GetInitialToken(), nil
}
