package cli

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// kindCommand makes the commands of a kind.
func (a *app) kindCommand(k kind) *cobra.Command {
	cmd := group(&cobra.Command{Use: k.name, Short: k.short})
	cmd.AddCommand(a.listCommand(k), a.showCommand(k))
	if k.create != nil {
		cmd.AddCommand(a.createCommand(k))
	}
	if k.update != nil || k.create != nil {
		cmd.AddCommand(a.updateCommand(k))
	}
	if k.deletable {
		cmd.AddCommand(a.deleteCommand(k))
	}
	for _, x := range k.actions {
		cmd.AddCommand(a.actionCommand(k, x))
	}
	if k.suspendable {
		cmd.AddCommand(
			a.suspendCommand(k, "suspend-work", "Hold back work on a "+k.name+": operations queue until it is resumed"),
			a.suspendCommand(k, "resume-work", "Let work on a "+k.name+" go on"))
	}
	switch k.name {
	case "machine":
		cmd.AddCommand(a.consoleCommand())
	case "operation":
		cmd.AddCommand(a.operationCommands()...)
	}
	return cmd
}

// changing adds what all commands have that change something.
func changing(cmd *cobra.Command) {
	cmd.Flags().Bool("no-wait", false, "do not wait for the operation to end")
}

// oneTarget makes the skeleton of a command on one resource.
func (a *app) oneTarget(k kind, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " <name|id>", Short: short, Args: exactly(1, "<name|id>"),
		ValidArgsFunction: a.completeTarget(k.name, false),
	}
}

// exactly demands a number of arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		if n == 0 {
			return usage(fmt.Sprintf("'%s' takes no arguments", cmd.CommandPath()), "run '"+cmd.CommandPath()+" --help'")
		}
		return usage(fmt.Sprintf("'%s' needs %s", cmd.CommandPath(), what), "run '"+cmd.CommandPath()+" --help'")
	}
}

func (a *app) deleteCommand(k kind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete <name|id>...", Short: "Delete " + k.plural, ValidArgsFunction: a.completeTarget(k.name, true),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(fmt.Sprintf("'%s' needs at least one name or id", cmd.CommandPath()), "")
			}
			return nil
		},
	}
	changing(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range args {
			if err := a.change(cmd, k, name, http.MethodDelete, "", nil); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// change asks for something of one resource and follows it.
func (a *app) change(cmd *cobra.Command, k kind, name, method, suffix string, body any) error {
	id, err := a.resolve(cmd.Context(), k.name, name)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	var operation client.Object
	call := client.Call{Method: method, Path: k.path() + "/" + url.PathEscape(id) + suffix, Body: body}
	if err := c.Do(cmd.Context(), call, &operation); err != nil {
		return err
	}
	return a.finish(cmd, operation)
}

func (a *app) actionCommand(k kind, x action) *cobra.Command {
	cmd := a.oneTarget(k, x.name, x.short)
	changing(cmd)
	a.declare(cmd, x.fields)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := demand(cmd, x.required); err != nil {
			return err
		}
		body := map[string]any{}
		if err := a.collect(cmd.Context(), cmd, x.fields, body); err != nil {
			return err
		}
		var sent any
		if len(body) > 0 {
			sent = body
		}
		return a.change(cmd, k, args[0], http.MethodPost, "/actions/"+x.name, sent)
	}
	return cmd
}

// demand reports flags that must be given and were not.
func demand(cmd *cobra.Command, flags []string) error {
	for _, name := range flags {
		if !cmd.Flags().Changed(name) {
			return usage("--"+name+" must be given", "run '"+cmd.CommandPath()+" --help'")
		}
	}
	return nil
}

func (a *app) suspendCommand(k kind, verb, short string) *cobra.Command {
	cmd := a.oneTarget(k, verb, short)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := a.resolve(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		var changed client.Object
		call := client.Call{Method: http.MethodPost, Path: k.path() + "/" + url.PathEscape(id) + "/actions/" + verb}
		if err := c.Do(cmd.Context(), call, &changed); err != nil {
			return err
		}
		if a.output != formatTable {
			return encode(cmd.OutOrStdout(), a.output, changed)
		}
		done := map[string]string{"suspend-work": "work is held back", "resume-work": "work goes on"}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", k.name, nameOrID(changed), done[verb])
		return nil
	}
	return cmd
}

func nameOrID(o client.Object) string {
	if name := text(o, "name"); name != "" {
		return clean(name)
	}
	return clean(text(o, "id"))
}
