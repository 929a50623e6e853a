package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// toStatus makes an error that crosses the wire with all that it says.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*resources.Error](err); ok {
		return problem(e)
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return problem(&resources.Error{Class: resources.ClassInternal, Code: "internal", Message: err.Error()})
}

func problem(e *resources.Error) error {
	plain := status.New(codes.Unknown, e.Error()) // whoever does not know the detail has to be careful
	encoded, err := json.Marshal(e)
	if err != nil {
		return plain.Err()
	}
	detailed, err := plain.WithDetails(&relaypb.Problem{Json: encoded})
	if err != nil {
		return plain.Err()
	}
	return detailed.Err()
}

// fromStatus is the reverse, for the caller whose context ended with caller, if it did. What is no answer of the other
// node gets a fault: TRANSIENT "node-unreachable" when the driver was not asked, UNKNOWN "outcome-unknown" when it may
// have been.
func fromStatus(err error, doing string, asked bool, caller error) error {
	err = classify(err, doing, asked)
	if caller != nil {
		return fmt.Errorf("%w: %w", err, caller)
	}
	return err
}

func classify(err error, doing string, asked bool) error {
	answer := status.Convert(err)
	for _, detail := range answer.Details() {
		switch d := detail.(type) {
		case *driverpb.Fault:
			return err
		case *relaypb.Problem:
			e := &resources.Error{}
			if json.Unmarshal(d.GetJson(), e) == nil {
				return e
			}
		}
	}
	words := fmt.Sprintf("%s on another node: %s", doing, answer.Message())
	switch code := answer.Code(); {
	case code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled && code != codes.Internal:
		return err
	case asked:
		return sdk.Unknown("outcome-unknown", words)
	case code == codes.Internal:
		return err
	}
	return sdk.Transient(resources.CodeNodeUnreachable, words)
}
