package qemuhypervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
)

const (
	// pressEvery is how often the power button is pressed until the guest reacts: one that is still starting misses it.
	pressEvery = 10 * time.Second

	// ACPI's registers of the power button are at an I/O port where both firmwares place them: what happened and the
	// guest has not noticed yet in the lower half, where writing a bit clears it, and what the guest wants to hear of in
	// the upper one. A press that it does not want to hear of has no effect, then or later.
	buttonPort               = "0x600"
	buttonHappened           = 1 << 8
	buttonWanted             = 1 << 24
	buttonUnplaced registers = 0xffffffff // what is read where nothing is
)

// registers are those of the power button.
type registers uint32

// button is the power button during one call.
type button struct {
	monitor *qmp.Client
	// listened: the guest wanted to hear of it when it was pressed.
	listened bool
	// heard: the guest has noticed a press. It may power off at any time.
	heard bool
}

// look notes how the guest takes the button, before it is pressed (again) or released.
func (b *button) look(ctx context.Context) (registers, error) {
	text, err := humanCommand(ctx, b.monitor, "i /w "+buttonPort)
	if err != nil {
		return 0, fmt.Errorf("looking at the power button: %w", err)
	}
	now := buttonUnplaced
	_, _ = fmt.Sscanf(text, "portl[0x0600] = 0x%x", &now) // other words are as good as none
	if now != buttonUnplaced {
		b.heard = b.heard || b.listened && now&buttonHappened == 0
		b.listened = b.listened || now&buttonWanted != 0
	}
	return now, nil
}

func (b *button) press(ctx context.Context) error {
	if _, err := b.look(ctx); err != nil {
		return err
	}
	if err := execute(ctx, b.monitor, "system_powerdown", nil, nil); err != nil {
		return fmt.Errorf("pressing the power button: %w", err)
	}
	return nil
}

// release takes a press back that the guest, which must be held, has not noticed.
func (b *button) release(ctx context.Context) error {
	now, err := b.look(ctx)
	if now == buttonUnplaced {
		b.heard = true // for all we know
	}
	if err != nil || now == buttonUnplaced || now&buttonHappened == 0 {
		return err
	}
	_, err = humanCommand(ctx, b.monitor, fmt.Sprintf("o /h %s %#x", buttonPort, buttonHappened))
	if err != nil {
		return fmt.Errorf("taking back the power button: %w", err)
	}
	return nil
}

// humanCommand runs one of the commands that QEMU offers to people only, and returns what it says.
func humanCommand(ctx context.Context, monitor *qmp.Client, line string) (said string, err error) {
	err = execute(ctx, monitor, "human-monitor-command", map[string]string{"command-line": line}, &said)
	return said, err
}
