package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

func (a *app) eventCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "event", Short: "Events: every change, in order"})
	watch := &cobra.Command{
		Use: "watch", Short: "Follow events until Ctrl-C", Args: exactly(0, ""),
		Long: "Follow events until Ctrl-C. Lost connections are taken up again without missing an event.\n" +
			"With -o json, each event is one line.",
	}
	fields := []field{
		{flag: "kind", path: "kind", usage: "only events of this kind"},
		{flag: "id", path: "id", usage: "only events of the resource with this id"},
	}
	a.declare(watch, fields)
	watch.Flags().String("since", "", "begin after this revision or position; from now on if not given")
	watch.Flags().Var(new(amount), "count", "stop after this many; 0 = never")
	watch.RunE = func(cmd *cobra.Command, _ []string) error { return a.watch(cmd, fields) }
	cmd.AddCommand(watch)
	return cmd
}

func (a *app) watch(cmd *cobra.Command, fields []field) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	given := map[string]any{}
	if err := a.collect(cmd.Context(), cmd, fields, given); err != nil {
		return err
	}
	query := url.Values{}
	for name, v := range given {
		query.Set(name, show(v))
	}
	since, _ := cmd.Flags().GetString("since")
	count := amountOf(cmd, "count")
	seen := 0
	var broken error
	err = c.Events(cmd.Context(), query, since, func(e client.Event) bool {
		seen++
		broken = a.printEvent(cmd.OutOrStdout(), e)
		return broken == nil && seen != count
	})
	if errors.Is(err, client.ErrGone) {
		p, said := errors.AsType[*client.Problem](err)
		if !said {
			p = &client.Problem{Class: "gone", Code: "resync-required", Detail: err.Error()}
		}
		p.Help = "list what you need, then watch without --since"
		return p
	}
	return errors.Join(err, broken)
}

func (a *app) printEvent(w io.Writer, e client.Event) error {
	if a.output == formatJSON {
		return json.NewEncoder(w).Encode(e)
	}
	if a.output == formatYAML {
		if _, err := fmt.Fprintln(w, "---"); err != nil {
			return err
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return err
		}
		var o any
		if err := json.Unmarshal(raw, &o); err != nil {
			return err
		}
		return encode(w, a.output, o)
	}
	name := e.Name
	if name == "" {
		name = e.ID
	}
	s := styleOf(w)
	_, err := fmt.Fprintf(
		w,
		"%s %s %-8s %s %s %s\n",
		s.dim(e.At.Local().Format("15:04:05.000")),
		s.dim(e.Position),
		e.Type,
		clean(e.Kind),
		clean(name),
		s.phase(clean(e.Phase)),
	)
	return err
}

func (a *app) auditCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "audit", Short: "The audit log: who asked for what"})
	list := &cobra.Command{Use: "list", Short: "List the audit log", Args: exactly(0, "")}
	newestFirst(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error { return a.listAudit(cmd) }
	a.reading(list)
	cmd.AddCommand(list)
	return cmd
}

func (a *app) listAudit(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	lines, err := a.gather(cmd, c, "/v1/audit", url.Values{})
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, lines)
	}
	t := table{
		style: styleOf(cmd.OutOrStdout()),
		head:  []string{"AT", "WHO", "FROM", "ACTION", "KIND", "TARGET", "DECISION"},
	}
	for _, line := range lines {
		o, _ := line.(map[string]any)
		t.add(
			moment(o, "at").UTC().Format(time.RFC3339), text(o, "principal"), text(o, "source"), text(o, "action"),
			text(o, "target.kind"), text(o, "target.id"), text(o, "decision"),
		)
	}
	t.print(cmd.OutOrStdout())
	return nil
}
