package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const nodesPath = "/v1/nodes"

func nodePath(name string) string { return nodesPath + "/" + url.PathEscape(name) }

// reading adds what all commands have that only read, and has them say how old it is
// that they read.
func (a *app) reading(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.stale, "stale", false,
		"answer with what the node has that is asked: it may be behind, and may be cut off from the others")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if a.stale && a.client != nil && a.client.Revision() > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "As of revision %d; other nodes may be further.\n", a.client.Revision())
		}
		return err
	}
}

// nodeCommand makes the commands of the nodes that manage the zone.
func (a *app) nodeCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "node", Short: "Nodes: what manages the zone together, and the agents of its hosts"})
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List nodes and agents", Args: exactly(0, ""),
		Long: "List nodes, and the agents of hosts: what a host, pool, network or image store can name as its node.\n" +
			"LAG is how many revisions a node is behind the one that is furthest. While no majority of the nodes\n" +
			"answers, use --stale.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listNodes(cmd) },
	}
	showIt := a.oneNode("show", "Show one node", func(cmd *cobra.Command, c *client.Client, name string) error {
		n, err := c.Get(cmd.Context(), nodePath(name), nil)
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), n)
	})
	a.reading(list)
	a.reading(showIt)
	drain := a.oneNode("drain", "Have other nodes take over a node's work, and wait until they have", a.drainNode)
	drain.Flags().Bool("no-wait", false, "do not wait for its work to be taken over")
	drain.Flags().Var(new(span), "timeout", "wait no longer than this, while it goes on; 0 = for ever")
	cmd.AddCommand(list, showIt, drain,
		a.oneNode("resume", "Let a node that was drained work again", a.nodeAction("resume", "works again")),
		a.oneNode("lead", "Have a node lead", a.nodeAction("lead", "leads")), a.removeCommand())
	cmd.AddCommand(a.rotationCommands()...)
	return cmd
}

// removeCommand makes the command that takes a node out.
func (a *app) removeCommand() *cobra.Command {
	remove := a.oneNode("remove", "Take a node or an agent out of the zone for good", a.removeNode)
	remove.Long = "Take a node or an agent out of the zone for good. Drain a node first, if it runs; its server ends\n" +
		"by itself. Refused if too few nodes that are well would be left to agree on anything, or if there are\n" +
		"resources on an agent."
	remove.Flags().Bool("force", false,
		"remove it also if too few would be left (the zone may not work afterwards), or with resources on it")
	return remove
}

// oneNode makes a command on one node.
func (a *app) oneNode(
	verb, short string, run func(cmd *cobra.Command, c *client.Client, name string) error,
) *cobra.Command {
	return &cobra.Command{
		Use: verb + " <name>", Short: short, Args: exactly(1, "<name>"), ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return run(cmd, c, args[0])
		},
	}
}

func (a *app) listNodes(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	all, err := nodes(cmd.Context(), c)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, all)
	}
	a.printNodes(cmd, all)
	return nil
}

func (a *app) printNodes(cmd *cobra.Command, all []client.Object) {
	furthest := int64(0)
	for _, n := range all {
		furthest = max(furthest, revisionOf(n))
	}
	t := table{
		style: styleOf(cmd.OutOrStdout()),
		head:  []string{"NAME", "ROLE", "STATE", "WORK", "SHARDS", "LAG", "VERSION", "ADDRESS"},
	}
	for _, n := range all {
		lag := ""
		if r := revisionOf(n); r > 0 {
			lag = strconv.FormatInt(furthest-r, 10)
		}
		shards := text(n, "shards")
		if text(n, "role") == roleAgent {
			shards = ""
		}
		t.add(text(n, "name"), text(n, "role"), a.wellness(n), work(n), shards, lag, text(n, "version"),
			text(n, "address"))
	}
	t.print(cmd.OutOrStdout())
}

// nodes reads all nodes: there are few.
func nodes(ctx context.Context, c *client.Client) ([]client.Object, error) {
	var list struct {
		Items []client.Object `json:"items"`
	}
	err := c.Do(ctx, client.Call{Method: http.MethodGet, Path: nodesPath}, &list)
	return list.Items, err
}

func revisionOf(node client.Object) int64 {
	n, ok := at(node, "revision").(json.Number)
	if !ok {
		return 0
	}
	revision, err := n.Int64()
	if err != nil {
		return 0
	}
	return revision
}

// wellness is whether a node is well, and else for how long it was not heard from.
func (a *app) wellness(node client.Object) string {
	if at(node, "well") == true {
		return "well"
	}
	return strings.TrimSpace("silent " + age(a.now(), moment(node, "lastHeard")))
}

// work is whether a node works.
func work(node client.Object) string {
	switch {
	case at(node, "draining") != true:
		return ""
	case text(node, "shards") == "0":
		return "drained"
	}
	return "draining"
}

// nodeAction asks something of a node that is done at once.
func (a *app) nodeAction(verb, done string) func(*cobra.Command, *client.Client, string) error {
	return func(cmd *cobra.Command, c *client.Client, name string) error {
		n, err := a.askNode(cmd, c, name, verb)
		if err != nil {
			return err
		}
		return a.told(cmd, n, done)
	}
}

func (a *app) askNode(cmd *cobra.Command, c *client.Client, name, verb string) (client.Object, error) {
	var n client.Object
	err := c.Do(cmd.Context(), client.Call{Method: http.MethodPost, Path: nodePath(name) + "/actions/" + verb}, &n)
	return n, err
}

// told says what became of a node.
func (a *app) told(cmd *cobra.Command, node client.Object, done string) error {
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, node)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "node %s: %s\n", clean(text(node, "name")), done)
	return err
}

func (a *app) removeNode(cmd *cobra.Command, c *client.Client, name string) error {
	force, _ := cmd.Flags().GetBool("force")
	query := url.Values{}
	if force { // "leave" has no such flag
		query.Set("force", "true")
	}
	var n client.Object
	err := c.Do(cmd.Context(), client.Call{Method: http.MethodDelete, Path: nodePath(name), Query: query}, &n)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Code == "quorum-lost" {
		p.Help = "bring silent nodes back or add another first, see 'bulkhead node list'; --force removes it all the same, " +
			"and nothing may work afterwards"
	}
	if err != nil {
		return err
	}
	return a.told(cmd, n, "removed")
}

func (a *app) drainNode(cmd *cobra.Command, c *client.Client, name string) error {
	n, err := a.askNode(cmd, c, name, "drain")
	if err != nil {
		return err
	}
	if noWait, _ := cmd.Flags().GetBool("no-wait"); noWait {
		return a.told(cmd, n, orElse(work(n), "draining"))
	}
	ctx := cmd.Context()
	if timeout := timeoutOf(cmd); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, &Failure{
			Message: clean(fmt.Sprintf("node %s was not drained in %s; it goes on", name, timeout)),
			Remedy:  clean("bulkhead node show " + name), Code: exitUnavailable,
		})
		defer cancel()
	}
	if n, err = a.untilDrained(ctx, cmd, c, n); err != nil {
		return err
	}
	return a.told(cmd, n, "drained")
}

// drainPause is how often a node that is drained is looked at.
const drainPause = 500 * time.Millisecond

// untilDrained waits until others do the node's work. Ctrl-C leaves it going on.
func (a *app) untilDrained(
	ctx context.Context, cmd *cobra.Command, c *client.Client, n client.Object,
) (client.Object, error) {
	name, said := clean(text(n, "name")), ""
	tick := time.NewTicker(drainPause)
	defer tick.Stop()
	for {
		switch work(n) {
		case "drained":
			return n, nil
		case "":
			return nil, Conflict("node "+name+" was resumed by somebody", "")
		}
		if left := text(n, "shards"); left != said && a.output == formatTable {
			said = left
			fmt.Fprintf(cmd.ErrOrStderr(), "drain %s: %s shards left\n", name, clean(left))
		}
		var err error
		select {
		case <-tick.C:
			n, err = c.Get(ctx, nodePath(text(n, "name")), nil)
		case <-ctx.Done():
		}
		switch late, ok := errors.AsType[*Failure](context.Cause(ctx)); {
		case ok:
			return nil, late
		case ctx.Err() != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "Detached: the drain goes on. To look: bulkhead node show %s\n", name)
			return nil, detachedError{}
		case err != nil:
			return nil, err
		}
	}
}

// completeNodes offers the names of nodes.
func (a *app) completeNodes(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	c, err := a.connect()
	if err != nil || len(args) > 0 {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	all, err := nodes(ctx, c.Stale())
	if err != nil {
		return nil, directive // a shell has nowhere to show it
	}
	var names []string
	for _, n := range all {
		if name := text(n, "name"); strings.HasPrefix(name, begun) {
			names = append(names, name+"\t"+clean(text(n, "role")))
		}
	}
	return names, directive
}
