package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const upgradePath = "/v1/upgrade"

// upgradeCommand makes the commands of rolling upgrades.
func (a *app) upgradeCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "upgrade", Short: "Rolling upgrade of the nodes"})
	status := &cobra.Command{
		Use: "status", Short: "Show which programs the nodes run, and what waits for the last of them", Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.upgradeStatus(cmd) },
	}
	plan := &cobra.Command{
		Use: "plan", Short: "Show what to do, node by node, for all to run this program", Args: exactly(0, ""),
		Long: "Show what to do, node by node, for all to run the version of the program that is called: call the one\n" +
			"that is to be installed.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.upgradePlan(cmd) },
	}
	a.reading(status)
	a.reading(plan)
	finalize := &cobra.Command{
		Use: "finalize", Short: "Let the zone rely on what all nodes run now, for good", Args: exactly(0, ""),
		Long: "Let the zone rely on what all nodes run now. It asks first: no node can go back to an older version\n" +
			"afterwards, and backups made afterwards can't be restored with one.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.finalize(cmd) },
	}
	finalize.Flags().Bool("yes", false, "do not ask")
	cmd.AddCommand(status, plan, finalize)
	return cmd
}

func (a *app) upgrade(ctx context.Context) (*client.Client, client.Object, error) {
	c, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	var u client.Object
	err = c.Do(ctx, client.Call{Method: http.MethodGet, Path: upgradePath}, &u)
	return c, u, err
}

// parts are the objects of a list.
func parts(o client.Object, key string) (list []client.Object) {
	items, _ := at(o, key).([]any)
	for _, item := range items {
		if part, ok := item.(map[string]any); ok {
			list = append(list, part)
		}
	}
	return list
}

func (a *app) upgradeStatus(cmd *cobra.Command) error {
	_, u, err := a.upgrade(cmd.Context())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if a.output != formatTable {
		return encode(out, a.output, u)
	}
	fmt.Fprintf(out, "zone: level %s (log format %s, snapshots %s, wire %s)\n", text(u, "level"),
		text(u, "formats.entry"), text(u, "formats.snapshot"), text(u, "formats.wire"))
	t := table{style: styleOf(out), head: []string{"NODE", "ROLE", "VERSION", "LEVELS", "PROBLEM"}}
	for _, n := range parts(u, "nodes") {
		t.add(text(n, "name"), text(n, "role"), text(n, "version"), levels(n), text(n, "problem"))
	}
	t.print(out)
	t = table{style: styleOf(out), head: []string{"FEATURE", "LEVEL", "STATE", "WHAT"}}
	for _, f := range parts(u, "features") {
		state := "waits"
		if at(f, "enabled") == true {
			state = "enabled"
		}
		t.add(text(f, "name"), text(f, "level"), state, text(f, "about"))
	}
	fmt.Fprintln(out)
	t.print(out)
	fmt.Fprintln(out, next(u))
	return nil
}

func levels(node client.Object) string {
	if text(node, "newestLevel") == "" {
		return ""
	}
	return text(node, "oldestLevel") + " to " + text(node, "newestLevel")
}

// next says what can be done about an upgrade.
func next(u client.Object) string {
	switch {
	case text(u, "level") == text(u, "target"):
		return "Nothing to finalize: the zone has all that the nodes' programs know."
	case at(u, "ready") == true:
		return fmt.Sprintf("The zone can be raised to level %s: bulkhead upgrade finalize", clean(text(u, "target")))
	}
	return fmt.Sprintf("Level %s waits: %s", clean(text(u, "target")), blockers(u))
}

func blockers(u client.Object) string {
	list, _ := at(u, "blockers").([]any)
	said := make([]string, len(list))
	for i, one := range list {
		said[i] = clean(fmt.Sprint(one))
	}
	return strings.Join(said, "; ")
}

// roleAgent is the role of what is no node: the agent of a host.
const roleAgent = "agent"

// planned is what is to be done with a node.
type planned struct {
	Node    string `json:"node"`
	Role    string `json:"role"`
	Version string `json:"version"`
	// Do is "upgrade", "nothing" or "mend".
	Do  string `json:"do"`
	Why string `json:"why,omitempty"`
}

// plan is what to do with each node for all to run a version, in this order: a node
// that does not answer comes before everything else.
func plan(u client.Object, version string) (list []planned) {
	for _, n := range parts(u, "nodes") {
		p := planned{Node: text(n, "name"), Role: text(n, "role"), Version: text(n, "version"), Do: "upgrade"}
		switch {
		case text(n, "problem") != "":
			p.Do, p.Why = "mend", text(n, "problem")
			list = append([]planned{p}, list...)
			continue
		case p.Version == version:
			p.Do = "nothing"
		}
		list = append(list, p)
	}
	return list
}

// planAgents is what to do with the agents of hosts, at any time after the nodes.
func planAgents(nodes []client.Object, version string) (list []planned) {
	for _, n := range nodes {
		p := planned{Node: text(n, "name"), Role: text(n, "role"), Version: text(n, "version"), Do: "upgrade"}
		switch {
		case p.Role != roleAgent:
			continue
		case at(n, "well") != true:
			p.Do, p.Why = "mend", "it does not answer"
		case p.Version == version:
			p.Do = "nothing"
		}
		list = append(list, p)
	}
	return list
}

func (a *app) upgradePlan(cmd *cobra.Command) error {
	c, u, err := a.upgrade(cmd.Context())
	if err != nil {
		return err
	}
	all, err := nodes(cmd.Context(), c)
	if err != nil {
		return err
	}
	out, todo := cmd.OutOrStdout(), append(plan(u, a.version), planAgents(all, a.version)...)
	if a.output != formatTable {
		return encode(out, a.output, todo)
	}
	fmt.Fprintf(out, "To have all nodes run %s, one after the other:\n", clean(a.version))
	for i, p := range todo {
		name, runs := clean(p.Node), clean(orElse(p.Version, "an unknown version"))
		switch p.Do {
		case "mend":
			fmt.Fprintf(out, "%2d. %s: does not say what it runs (%s): start it, or remove it if it is lost\n",
				i+1, name, clean(p.Why))
		case "nothing":
			fmt.Fprintf(out, "%2d. %s: nothing, it runs %s\n", i+1, name, runs)
		default:
			fmt.Fprintf(out, "%2d. %s (%s, runs %s): stop the %s, install, start it, wait until it is well again\n",
				i+1, name, clean(p.Role), runs, processOf(p))
		}
	}
	fmt.Fprintf(out, "%2d. see that all is well, then: bulkhead upgrade finalize\n", len(todo)+1)
	fmt.Fprintln(out, "A node that stops gives its work and the lead to the others first; drivers and guests run on.\n"+
		"Until you finalize, each can go back the same way.")
	return nil
}

// processOf names what runs there.
func processOf(p planned) string {
	if p.Role == roleAgent {
		return roleAgent
	}
	return "server"
}

func (a *app) finalize(cmd *cobra.Command) error {
	c, u, err := a.upgrade(cmd.Context())
	if err != nil {
		return err
	}
	level, target := clean(text(u, "level")), clean(text(u, "target"))
	switch {
	case level == target:
		return a.finalized(cmd, u)
	case at(u, "ready") != true:
		return Conflict(fmt.Sprintf("level %s waits: %s", target, blockers(u)),
			"upgrade these nodes, or remove those that are lost; see 'bulkhead upgrade plan'")
	}
	if yes, _ := cmd.Flags().GetBool("yes"); !yes {
		if err := sure(cmd, irrevocable(u)); err != nil {
			return err
		}
	}
	body := map[string]any{"level": at(u, "target")}
	call := client.Call{Method: http.MethodPost, Path: upgradePath + "/actions/finalize", Body: body}
	if err := c.Do(cmd.Context(), call, &u); err != nil {
		return err
	}
	return a.finalized(cmd, u)
}

// irrevocable says what can't be undone once an upgrade is finalized.
func irrevocable(u client.Object) string {
	var b strings.Builder
	level, target := clean(text(u, "level")), clean(text(u, "target"))
	fmt.Fprintf(&b, "The zone is raised from level %s to %s, for good:\n", level, target)
	for _, f := range parts(u, "features") {
		if at(f, "enabled") != true {
			fmt.Fprintf(&b, "  %s: %s\n", clean(text(f, "name")), clean(text(f, "about")))
		}
	}
	fmt.Fprintf(&b, "No node can go back to a version that knows no level %s, none can join with one, and backups made\n"+
		"from now on can't be restored with one. To keep a way back, make a backup now.\n", target)
	return b.String()
}

// sure says what is done, and asks at a terminal whether to go on.
func sure(cmd *cobra.Command, what string) error {
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !terminal(f) {
		fmt.Fprint(cmd.ErrOrStderr(), what)
		return usage("somebody has to agree to this, and there is nobody to ask", "read what it says, then give --yes")
	}
	if !agreed(cmd, f, what+"Go on? Type yes: ") {
		return Conflict("nothing was done", "")
	}
	return nil
}

// agreed asks at a terminal.
func agreed(cmd *cobra.Command, at io.Reader, question string) bool {
	fmt.Fprint(cmd.ErrOrStderr(), question)
	line, _ := bufio.NewReader(at).ReadString('\n') // an end is no yes
	return strings.TrimSpace(line) == "yes"
}

func (a *app) finalized(cmd *cobra.Command, u client.Object) error {
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, u)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "zone: level %s\n", clean(text(u, "level")))
	return err
}
