package cli

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// operationCommands are those that only operations have.
func (a *app) operationCommands() []*cobra.Command {
	k := operationKind()
	watch := a.oneTarget(k, "watch", "Follow an operation until it has ended")
	watch.Use = "watch <id>"
	waiting(watch)
	watch.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := a.find(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		return a.finish(cmd, o)
	}
	all := []*cobra.Command{watch}
	for verb, short := range map[string]string{
		"cancel":  "Ask an operation to stop; what it did is undone",
		"retry":   "Let an operation that needs an operator try again",
		"unwind":  "Have what an operation that needs an operator did undone",
		"abandon": "Give up an operation that needs an operator or is being undone, with nothing more done",
	} {
		cmd := a.oneTarget(k, verb, short)
		cmd.Use = verb + " <id>"
		changing(cmd)
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.resolveOperation(cmd, args[0], verb) }
		all = append(all, cmd)
	}
	return all
}

// resolveOperation takes a decision on an operation, and follows it. That an
// operation does not succeed is what was asked for by all but retry.
func (a *app) resolveOperation(cmd *cobra.Command, id, verb string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var o client.Object
	call := client.Call{Method: http.MethodPost, Path: "/v1/operations/" + url.PathEscape(id) + "/actions/" + verb}
	if err := c.Do(cmd.Context(), call, &o); err != nil {
		return err
	}
	last, err := a.settle(cmd, o)
	if err != nil || last == nil {
		return err
	}
	if done := decided(verb, text(last, "phase")); done != "" {
		if a.output == formatTable {
			fmt.Fprintf(cmd.OutOrStdout(), "operation %s: %s\n", clean(id), done)
		}
		return nil
	}
	return a.outcome(cmd.OutOrStdout(), last)
}

// decided is how a decision is told that was carried out; empty if it was not.
func decided(verb, phase string) string {
	switch {
	case verb == "cancel" && phase == "cancelled":
		return "cancelled"
	case verb == "unwind" && (phase == "failed" || phase == "cancelled"):
		return "undone"
	case verb == "abandon" && (phase == "failed" || phase == "cancelled"):
		return "given up"
	}
	return ""
}
