package types

import (
	"fmt"

	"github.com/aws/smithy-go"
)

// LimitExceededException reports that a quota of the account is used up, such as open tunnels or services in one tunnel.
type LimitExceededException struct { //nolint:errname // the name in the AWS SDK
	Message           *string
	ErrorCodeOverride *string
}

var (
	_ smithy.APIError = (*LimitExceededException)(nil)
	_ smithy.APIError = (*ResourceNotFoundException)(nil)
)

func (e *LimitExceededException) Error() string {
	return fmt.Sprintf("%s: %s", e.ErrorCode(), e.ErrorMessage())
}

// ErrorMessage returns the service's message.
func (e *LimitExceededException) ErrorMessage() string { return value(e.Message) }

// ErrorCode returns the error's type as the service names it.
func (e *LimitExceededException) ErrorCode() string {
	if e == nil || e.ErrorCodeOverride == nil {
		return "LimitExceededException"
	}
	return *e.ErrorCodeOverride
}

// ErrorFault returns the side at fault: the client.
func (e *LimitExceededException) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

// ResourceNotFoundException reports that there is no such tunnel, or that it is closed.
type ResourceNotFoundException struct { //nolint:errname // the name in the AWS SDK
	Message           *string
	ErrorCodeOverride *string
}

func (e *ResourceNotFoundException) Error() string {
	return fmt.Sprintf("%s: %s", e.ErrorCode(), e.ErrorMessage())
}

// ErrorMessage returns the service's message.
func (e *ResourceNotFoundException) ErrorMessage() string { return value(e.Message) }

// ErrorCode returns the error's type as the service names it.
func (e *ResourceNotFoundException) ErrorCode() string {
	if e == nil || e.ErrorCodeOverride == nil {
		return "ResourceNotFoundException"
	}
	return *e.ErrorCodeOverride
}

// ErrorFault returns the side at fault: the client.
func (e *ResourceNotFoundException) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
