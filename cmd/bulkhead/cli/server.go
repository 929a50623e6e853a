package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// serverCommand makes what belongs to the command of the server and speaks the API: the
// program adds to it what it does on the machine.
func (a *app) serverCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "server", Short: "Run a server, and have it join and leave others"})
	status := &cobra.Command{
		Use: "status", Short: "Show how the nodes of the zone are", Args: exactly(0, ""),
		Long: "Show all nodes, as 'bulkhead node list' does, and what they are replacing of their secrets. While no\n" +
			"majority of the nodes answers, use --stale.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serverStatus(cmd) },
	}
	a.reading(status)
	leave := a.oneNode("leave", "Drain a node and take it out of the zone for good", a.leave)
	leave.Long = "Drain a node, have others take over its work and the lead, and take it out of the zone for good. Its\n" +
		"server ends by itself. Refused if too few nodes that are well would be left to agree on anything: it goes\n" +
		"on working then."
	leave.Flags().Var(new(span), "timeout", "wait no longer than this for its work to be taken over; 0 = for ever")
	cmd.AddCommand(status, leave, a.removeCommand())
	return cmd
}

func (a *app) serverStatus(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	all, err := nodes(cmd.Context(), c)
	if err != nil {
		return err
	}
	rotation, err := c.Get(cmd.Context(), rotationPath, nil)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, map[string]any{"nodes": all, "rotation": rotation})
	}
	a.printNodes(cmd, all)
	if text(rotation, "phase") != "none" {
		fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", a.rotationLine(rotation))
	}
	return nil
}

// leave drains a node and removes it. If it may not be removed it works again, unless it
// was drained before.
func (a *app) leave(cmd *cobra.Command, c *client.Client, name string) error {
	drained, err := leavable(cmd, c, name)
	if err != nil {
		return err
	}
	if err := a.drainNode(cmd, c, name); err != nil {
		return err
	}
	err = a.removeNode(cmd, c, name)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Code == "quorum-lost" && !drained {
		p.Help = "bring silent nodes back or let another join first, see 'bulkhead server status'; " + name + " works on"
		if _, failed := a.askNode(cmd, c, name, "resume"); failed != nil {
			p.Help += " once it is resumed: bulkhead node resume " + name
		}
	}
	return err
}

// leavable refuses to drain a node whose work nobody could take over: that would never
// end. It reports whether the node is drained already.
func leavable(cmd *cobra.Command, c *client.Client, name string) (drained bool, err error) {
	all, err := nodes(cmd.Context(), c)
	if err != nil {
		return false, err
	}
	known, others := false, 0
	for _, n := range all {
		switch {
		case text(n, "name") == name:
			known, drained = true, work(n) != ""
		case at(n, "well") == true && work(n) == "":
			others++
		}
	}
	if known && others == 0 {
		return false, Conflict("no other node could take over the work of node "+name,
			"bring others back, resume them, or let another join first: bulkhead server status")
	}
	return drained, nil
}
