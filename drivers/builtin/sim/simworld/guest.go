package simworld

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What happens in a world without a driver: guests write and die, people add and take things away. These calls have no
// token and no epoch, and leave effects without a Call.

// ErrAbsent says that a thing is not in the world.
var ErrAbsent = errors.New("there is no such thing in the world")

// alter changes one thing without a driver.
func (w *World) alter(effect string, key Key, how func(tx *Tx, o *Object) error) error {
	return w.Update(Cause{}, func(tx *Tx) error {
		o, ok := tx.Get(key)
		if !ok {
			return fmt.Errorf("%s: %w", key, ErrAbsent)
		}
		if err := how(tx, &o); err != nil {
			return err
		}
		return tx.Change(effect, &o)
	})
}

// Write is a guest writing content to a volume.
func (w *World) Write(volume Key, content string) error {
	return w.alter("write", volume, func(_ *Tx, o *Object) error {
		o.Content = content
		return nil
	})
}

// Read returns what is written on a volume, in a snapshot or a template.
func (w *World) Read(key Key) (content string, err error) {
	err = w.View(func(tx *Tx) error {
		o, ok := tx.Get(key)
		if !ok {
			return fmt.Errorf("%s: %w", key, ErrAbsent)
		}
		content = o.Content
		return nil
	})
	return content, err
}

// EndGuest is a machine ending by itself: reason is "guest-shutdown", "guest-panic" or "killed".
func (w *World) EndGuest(machine Key, reason string) error {
	return w.alter(reason, machine, func(tx *Tx, o *Object) error {
		if !o.live() || o.Detail == nil || o.Detail.Machine == nil {
			return fmt.Errorf("%s is not running: %w", machine, ErrAbsent)
		}
		o.Detail.Machine.Ran, o.Detail.Machine.Reason = o.RanFor(tx.now), reason
		o.State = Stopped
		return nil
	})
}

// Plant puts a thing into the world behind everybody's back: what an engine has to find by observing.
func (w *World) Plant(o Object) error {
	return w.Update(Cause{}, func(tx *Tx) error { return tx.Create(&o) })
}

// Vanish takes a thing out of the world behind everybody's back, unless a law stands against it.
func (w *World) Vanish(key Key) error {
	return w.Update(Cause{}, func(tx *Tx) error { return tx.Remove("vanish", key) })
}

// RanFor is how long a machine has run since it was booted, without pauses.
func (o Object) RanFor(now time.Time) time.Duration {
	m := o.machine()
	if o.State == Running {
		return m.Ran + now.Sub(m.Resumed)
	}
	return m.Ran
}

// Console is what the machine has printed on its serial console.
func (o Object) Console() string {
	m := o.machine()
	var out strings.Builder
	for boot := range m.Boots {
		fmt.Fprintf(&out, "[    0.000000] Simulated kernel, boot %d of %s\n", boot+1, o.ID)
		fmt.Fprintf(&out, "[    0.100000] %d cpus, %d bytes of memory\n", m.Cpus, o.Bytes)
		for i, disk := range m.Disks {
			fmt.Fprintf(&out, "[    0.20%d000] disk %s at %s\n", i%10, disk.Serial, disk.Path)
		}
		for i, nic := range m.Nics {
			fmt.Fprintf(&out, "[    0.30%d000] nic %s\n", i%10, nic.Mac)
		}
		fmt.Fprintf(&out, "\n%s login: \n", m.Name)
	}
	if m.Reason != "" {
		fmt.Fprintf(&out, "[ %11.6f] machine ended: %s\n", m.Ran.Seconds(), m.Reason)
	}
	return out.String()
}
