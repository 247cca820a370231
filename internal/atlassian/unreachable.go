package atlassian

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Errors about the way to an upstream.
var (
	// ErrConnectionRefused means that nothing listens at its address.
	ErrConnectionRefused = errors.New("the connection was refused")
	// ErrNoSuchHost means that its name does not exist.
	ErrNoSuchHost = errors.New("there is no such host")
	// ErrTimeout means that it did not answer in time.
	ErrTimeout = errors.New("there was no answer in time")
)

// networkError adds one of the errors above to the error of a request, if the network is the cause.
func networkError(err error) error {
	var (
		name    *net.DNSError
		network net.Error
	)
	var cause error
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		cause = ErrNoSuchHost
	case errors.Is(err, syscall.ECONNREFUSED):
		cause = ErrConnectionRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		cause = ErrTimeout
	default:
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}
