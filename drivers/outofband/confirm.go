package outofband

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The controller is asked again after a pause that grows from the shortest to the longest.
const (
	shortestPause = 100 * time.Millisecond
	longestPause  = 2 * time.Second
)

// after is the power that an action leads to.
func (a Action) after() driverpb.Power {
	if a == On {
		return driverpb.Power_POWER_ON
	}
	return driverpb.Power_POWER_OFF
}

// turn brings the power to where an action leads, unless it is there, and returns what the controller said last: that
// it is so. After an order that may have arrived nothing but the controller's word is success.
func (c *session) turn(ctx context.Context, action Action) (*driverpb.PowerReply, error) {
	reply, err := c.ask(ctx)
	if err != nil || reply.GetPower() == action.after() {
		return reply, err
	}
	err = c.Order(ctx, action)
	if refusal(err) {
		return nil, err
	}
	return c.confirm(ctx, action, err)
}

// refusal tells whether an order was refused, so that nothing happens.
func refusal(err error) bool {
	switch sdk.FaultOf(err).GetClass() { //nolint:exhaustive // of all others nobody knows
	case driverpb.Class_CLASS_INVALID, driverpb.Class_CLASS_DENIED, driverpb.Class_CLASS_CONFLICT,
		driverpb.Class_CLASS_UNSUPPORTED, driverpb.Class_CLASS_NOT_FOUND:
		return true
	}
	return false
}

// confirm asks again and again until the controller says that what was ordered is so. Doubt is why the order may not
// have arrived; nil if the controller took it.
func (c *session) confirm(ctx context.Context, action Action, doubt error) (*driverpb.PowerReply, error) {
	sdk.Progress(ctx, 50, "waiting until the controller says that it is so")
	enough := time.NewTimer(c.settings.Confirm)
	defer enough.Stop()
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		reply, err := c.ask(ctx)
		if err == nil && reply.GetPower() == action.after() {
			return reply, nil
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
			continue
		case <-enough.C:
			next.Stop()
			return nil, c.unconfirmed(action, reply, errors.Join(doubt, err))
		case <-ctx.Done():
			next.Stop()
			return nil, fmt.Errorf("waiting for the power: %w", ctx.Err())
		}
	}
}

// unconfirmed is the fault of an order whose outcome nobody has seen.
func (c *session) unconfirmed(action Action, last *driverpb.PowerReply, doubt error) error {
	if action == ShutDown && last.GetPower() == driverpb.Power_POWER_ON && doubt == nil {
		return sdk.Conflict(codeIgnored, fmt.Sprintf("the host did not shut down within %s", c.settings.Confirm),
			"give it more time, or turn its power off")
	}
	message := fmt.Sprintf("%q was ordered, and after %s the controller at %s ", action, c.settings.Confirm,
		c.settings.Address)
	if last == nil {
		message += "does not answer"
	} else {
		message += "says " + strings.ToLower(strings.TrimPrefix(last.GetPower().String(), "POWER_"))
	}
	if doubt != nil {
		message += " (" + doubt.Error() + ")"
	}
	return sdk.Unknown(codeUnconfirmed, message)
}
