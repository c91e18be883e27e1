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

// careful adapts a retryer to this service.
type careful struct {
	aws.Retryer

	// once repeats a call only if the one before certainly had no effect: the service refused it, or it was never sent.
	// A lost response may mean an open tunnel, which costs money.
	once bool
}

func (r careful) IsErrorRetryable(err error) bool {
	// The SDK takes it for a rate limit. Here it is a quota: waiting some seconds does not help.
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

// GetAttemptToken keeps the rate limit of adaptive retries, which the embedded interface lacks.
func (r careful) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if v2, ok := r.Retryer.(aws.RetryerV2); ok {
		return v2.GetAttemptToken(ctx)
	}
	return r.GetInitialToken(), nil
}
