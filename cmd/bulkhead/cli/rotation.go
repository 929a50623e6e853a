package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const rotationPath = "/v1/rotation"

// rotationCommands make the commands that replace the secrets which all nodes have.
func (a *app) rotationCommands() []*cobra.Command {
	showIt := &cobra.Command{
		Use: "rotation", Short: "Show how far the replacing of a secret of all nodes is", Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showRotation(cmd) },
	}
	a.reading(showIt)
	list := []*cobra.Command{showIt}
	for _, x := range []struct{ secret, short, long string }{
		{
			"authority", "Replace the authority that signs the certificates of nodes",
			"Replace the authority that signs the certificates of nodes, and all certificates, while all go on. Join tokens\n" +
				"that were made before are not good afterwards.",
		},
		{
			"gossip-key", "Replace the key of the gossip",
			"Replace the key that the gossip of nodes is encrypted with, while all go on.",
		},
		{
			"secret-keys", "Replace the key that secrets of resources are sealed with",
			"Replace the key that secrets of resources are sealed with, while all go on. The secrets themselves stay as they\n" +
				"are. A server that is alone has such a key, too.",
		},
	} {
		cmd := &cobra.Command{
			Use: "rotate-" + x.secret, Short: x.short, Args: exactly(0, ""),
			Long: x.long + "\nEach phase waits for all nodes: one that is away holds it up until it is back or removed.",
			RunE: func(cmd *cobra.Command, _ []string) error { return a.rotate(cmd, x.secret) },
		}
		cmd.Flags().Bool("no-wait", false, "do not wait until it is done")
		cmd.Flags().Var(new(span), "timeout", "wait no longer than this, while it goes on; 0 = for ever")
		list = append(list, cmd)
	}
	return list
}

func (a *app) showRotation(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := c.Get(cmd.Context(), rotationPath, nil)
	if err != nil {
		return err
	}
	return a.tellRotation(cmd, r)
}

func (a *app) tellRotation(cmd *cobra.Command, r client.Object) error {
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, r)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), a.rotationLine(r))
	return err
}

// rotationLine says how far a rotation is, and who lags.
func (a *app) rotationLine(r client.Object) string {
	switch text(r, "phase") {
	case "none":
		return "rotation: none yet"
	case "done":
		return clean(fmt.Sprintf("rotation of the %s: done since %s", text(r, "secret"),
			moment(r, "since").UTC().Format(time.RFC3339)))
	}
	line := fmt.Sprintf("rotation of the %s: %s for %s", text(r, "secret"), text(r, "phase"),
		age(a.now(), moment(r, "since")))
	if lagging := text(r, "lagging"); lagging != "" {
		line += ", waits for " + lagging
	}
	return clean(line)
}

func (a *app) rotate(cmd *cobra.Command, secret string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var r client.Object
	call := client.Call{Method: http.MethodPost, Path: rotationPath, Body: map[string]any{"secret": secret}}
	if err := c.Do(cmd.Context(), call, &r); err != nil {
		return err
	}
	if noWait, _ := cmd.Flags().GetBool("no-wait"); noWait {
		return a.tellRotation(cmd, r)
	}
	ctx := cmd.Context()
	if timeout := timeoutOf(cmd); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, &Failure{
			Message: fmt.Sprintf("the rotation was not done in %s; it goes on", timeout),
			Remedy:  "bulkhead node rotation", Code: exitUnavailable,
		})
		defer cancel()
	}
	if r, err = a.untilRotated(ctx, cmd, c, r); err != nil {
		return err
	}
	return a.tellRotation(cmd, r)
}

// untilRotated waits until a rotation is done. Ctrl-C leaves it going on.
func (a *app) untilRotated(
	ctx context.Context, cmd *cobra.Command, c *client.Client, r client.Object,
) (client.Object, error) {
	tick := time.NewTicker(drainPause)
	defer tick.Stop()
	for said := ""; text(r, "phase") != "done"; {
		line := a.rotationLine(r)
		if now := text(r, "phase") + text(r, "lagging"); now != said && a.output == formatTable {
			said = now
			fmt.Fprintln(cmd.ErrOrStderr(), strings.TrimSpace(line))
		}
		var err error
		select {
		case <-tick.C:
			r, err = c.Get(ctx, rotationPath, nil)
		case <-ctx.Done():
		}
		switch late, ok := errors.AsType[*Failure](context.Cause(ctx)); {
		case ok:
			return nil, late
		case ctx.Err() != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), "Detached: the rotation goes on. To look: bulkhead node rotation")
			return nil, detachedError{}
		case err != nil:
			return nil, err
		}
	}
	return r, nil
}
