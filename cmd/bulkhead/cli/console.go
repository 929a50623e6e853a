package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// leave is the key that leaves a console: Ctrl-].
const leave = 0x1d

func (a *app) consoleCommand() *cobra.Command {
	k := machineKind()
	cmd := a.oneTarget(k, "console", "Open a machine's serial console; Ctrl-] leaves it")
	cmd.Flags().Bool("read-only", false, "show what it says and send nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := a.resolve(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		far, err := c.Console(cmd.Context(), id)
		if err != nil {
			return err
		}
		readOnly, _ := cmd.Flags().GetBool("read-only")
		return attach(cmd, far, readOnly)
	}
	return cmd
}

// attach joins the command's input and output with a console until either ends.
func attach(cmd *cobra.Command, far net.Conn, readOnly bool) error {
	stdin := cmd.InOrStdin()
	if f, ok := stdin.(*os.File); ok && terminal(f) && !readOnly {
		fmt.Fprintln(cmd.ErrOrStderr(), "Connected; Ctrl-] leaves.")
		before, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(f.Fd()), before) }() // nothing better is left to try
	}
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(cmd.OutOrStdout(), far)
		ended <- err
	}()
	if !readOnly {
		// Left behind when the console ends first: a read of a terminal can't be
		// interrupted, and the program is about to end.
		go func() { ended <- typeInto(far, stdin) }()
	}
	var err error
	select {
	case err = <-ended:
	case <-cmd.Context().Done():
	}
	_ = far.Close() // both ways are done with
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the console broke off: %w", err)
	}
	return nil
}

// typeInto sends what is typed until the key that leaves, or the end of the input.
func typeInto(far io.Writer, stdin io.Reader) error {
	buffer := make([]byte, 1024)
	for {
		n, err := stdin.Read(buffer)
		for i, b := range buffer[:n] {
			if b == leave {
				_, err := far.Write(buffer[:i])
				return err
			}
		}
		if n > 0 {
			if _, err := far.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
