package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

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
	if k.stored {
		cmd.AddCommand(a.actionCommand(k, action{
			name: "forget", short: "Delete " + k.one() + " whose storage is lost, and leave what is left of it behind",
		}))
	}
	if k.suspendable {
		cmd.AddCommand(
			a.suspendCommand(k, "suspend-work", "Hold back work on "+k.one()+": operations queue until it is resumed"),
			a.suspendCommand(k, "resume-work", "Let work on "+k.one()+" go on"))
	}
	cmd.AddCommand(a.ownCommands(k)...)
	return cmd
}

// ownCommands are those that no other kind has.
func (a *app) ownCommands(k kind) []*cobra.Command {
	switch k.name {
	case "driver":
		return []*cobra.Command{
			a.propertiesCommand(k), a.statsCommand(k), a.logsCommand(k), a.installCommand(), a.upgradeDriverCommand(),
			a.copyCommand(), a.configureCommand(), a.runDriverCommand(),
			a.enablingCommand(k, "enable", "Start a version of a driver, and let resources be bound to it", true),
			a.enablingCommand(k, "disable", "End the processes of a version of a driver that nothing is bound to", false),
			a.uninstallCommand(k),
		}
	case "swap":
		return []*cobra.Command{a.swapCommand(), a.swapProgressCommand(k)}
	case "machine":
		return []*cobra.Command{a.consoleCommand()}
	case "operation":
		return a.operationCommands()
	}
	return nil
}

// changing adds what all commands have that change something.
func changing(cmd *cobra.Command) {
	cmd.Flags().Bool("no-wait", false, "do not wait for the operation to end")
	waiting(cmd)
}

// waiting adds what all commands have that wait for an operation.
func waiting(cmd *cobra.Command) {
	cmd.Flags().Var(new(span), "timeout", "wait no longer than this for the operation, which goes on; 0 = for ever")
}

// oneTarget makes the skeleton of a command on one resource.
func (a *app) oneTarget(k kind, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " <name|id>", Short: short, Args: exactly(1, "<name|id>"),
		ValidArgsFunction: a.completeTarget(k.name, false),
	}
}

// Exactly demands a number of arguments; what names them, if there is one.
func Exactly(n int, what string) cobra.PositionalArgs { return exactly(n, what) }

// exactly demands a number of arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		help := "run '" + cmd.CommandPath() + " --help'"
		if n == 0 {
			return usage(fmt.Sprintf("'%s' takes no arguments", cmd.CommandPath()), help)
		}
		if len(args) > n {
			return usage(fmt.Sprintf("'%s' takes only %s, not %q", cmd.CommandPath(), what, args[n]), help)
		}
		return usage(fmt.Sprintf("'%s' needs %s", cmd.CommandPath(), what), help)
	}
}

func (a *app) deleteCommand(k kind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete <name|id>...", Short: "Delete " + words(k.plural), ValidArgsFunction: a.completeTarget(k.name, true),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(fmt.Sprintf("'%s' needs at least one name or id", cmd.CommandPath()), "")
			}
			return nil
		},
	}
	changing(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return a.change(cmd, k, args[0], http.MethodDelete, "", nil)
		}
		return a.deleteAll(cmd, k, args)
	}
	return cmd
}

// deleteAll deletes one after the other, also after some that could not be: each
// failure is explained where it happens.
func (a *app) deleteAll(cmd *cobra.Command, k kind, names []string) error {
	var failed []string
	code := 0
	for i, name := range names {
		err := a.change(cmd, k, name, http.MethodDelete, "", nil)
		if err == nil {
			continue
		}
		if hopeless(err) {
			if left := names[i+1:]; len(left) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "Not tried any more: %s\n", clean(strings.Join(left, " ")))
			}
			return err
		}
		if p, ok := errors.AsType[*client.Problem](err); ok {
			a.name(cmd.Context(), p)
		}
		explain(cmd.ErrOrStderr(), err, styleOf(cmd.ErrOrStderr()))
		if len(failed) > 0 && code != exitCode(err) {
			code = exitGeneric
		} else {
			code = exitCode(err)
		}
		failed = append(failed, name)
	}
	if len(failed) == 0 {
		return nil
	}
	return &Failure{
		Message: fmt.Sprintf("%d of %d %s were not deleted: %s",
			len(failed), len(names), words(k.plural), strings.Join(failed, " ")),
		Code: code,
	}
}

// hopeless reports whether what comes next would fail in the same way.
func hopeless(err error) bool {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return p.Class == "unauthenticated"
	}
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return true
	}
	return exitCode(err) == exitInterrupted
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
		err := a.change(cmd, k, args[0], http.MethodPost, "/actions/"+x.name, sent)
		if err != nil || x.answer == "" {
			return err
		}
		return a.answer(cmd, k, x, args[0])
	}
	return cmd
}

// answer says what an action was to find out, where its outcome is for people.
func (a *app) answer(cmd *cobra.Command, k kind, x action, name string) error {
	if noWait, _ := cmd.Flags().GetBool("no-wait"); noWait || a.output != formatTable {
		return nil
	}
	id, err := a.resolve(cmd.Context(), k.name, name)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := c.Get(cmd.Context(), k.path()+"/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s %s\n", words(k.name), nameOrID(r), x.about,
		orElse(clean(text(r, x.answer)), "unknown"))
	return nil
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
	if k.name == "swap" { // of a machine, to resume is something else
		cmd.Aliases = []string{strings.TrimSuffix(verb, "-work")}
	}
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
