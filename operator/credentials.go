package operator

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
)

// discreet keeps the output of a credential_process out of errors. The SDK quotes it in full if it is not JSON, secrets
// included.
type discreet struct{ aws.CredentialsProvider }

// IsCredentialsProvider lets the SDK recognise anonymous credentials.
func (d discreet) IsCredentialsProvider(target aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(d.CredentialsProvider, target)
}

func (d discreet) Retrieve(ctx context.Context) (aws.Credentials, error) {
	start := time.Now()
	c, err := d.CredentialsProvider.Retrieve(ctx)
	e, ok := errors.AsType[*processcreds.ProviderError](err)
	if !ok {
		return c, err
	}
	inner := errors.Unwrap(e.Err)
	exit, isExit := errors.AsType[*exec.ExitError](err)
	_, isExec := errors.AsType[*exec.Error](err)
	switch {
	case isExit && time.Since(start) >= processcreds.DefaultTimeout:
		err = fmt.Errorf("the credential_process did not end within %s (a question that it asks must go to /dev/tty)", processcreds.DefaultTimeout)
	case isExit:
		err = fmt.Errorf("the credential_process failed: %s", exit.ProcessState)
	case isExec, errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		err = fmt.Errorf("the credential_process failed: %w", inner)
	case inner == nil: // the SDK's words alone, such as: missing AccessKeyId in process output
		err = fmt.Errorf("the credential_process: %w", e.Err)
	default:
		err = errors.New("the credential_process printed something other than the JSON of credentials (its output is not shown: it may hold secrets)")
	}
	return c, &processError{err}
}

// processError is the failure of a credential_process, without its output.
type processError struct{ error }

func (e *processError) Unwrap() error { return e.error }
