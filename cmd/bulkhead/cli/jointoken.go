package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const joinTokensPath = "/v1/join-tokens"

// joinTokenCommand makes the commands of what lets nodes and hosts in.
func (a *app) joinTokenCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "join-token", Short: "Join tokens: what lets nodes and hosts in, once"})
	create := &cobra.Command{
		Use: "create", Short: "Create a join token and show it, this once", Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.createJoinToken(cmd) },
	}
	create.Flags().String("role", "node", "what it lets in: node or host")
	offer(create, "role", cobra.FixedCompletions([]string{"node", "host"}, cobra.ShellCompDirectiveNoFileComp))
	lasting := span(15 * time.Minute)
	create.Flags().Var(&lasting, "expires-in", "how long it is good for, from 1m to 24h")
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the join tokens that were not used yet", Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listJoinTokens(cmd) },
	}
	a.reading(list)
	remove := &cobra.Command{
		Use: "delete <id>", Short: "Take back a join token that was not used yet", Args: exactly(1, "<id>"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteJoinToken(cmd, args[0]) },
	}
	cmd.AddCommand(create, list, remove)
	return cmd
}

func (a *app) createJoinToken(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	body := map[string]any{"role": cmd.Flags().Lookup("role").Value.String()}
	if lasting, ok := cmd.Flags().Lookup("expires-in").Value.(*span); ok {
		body["expiresInSeconds"] = int(time.Duration(*lasting).Seconds())
	}
	var made client.Object
	call := client.Call{Method: http.MethodPost, Path: joinTokensPath, Body: body}
	if err := c.Do(cmd.Context(), call, &made); err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, made)
	}
	fmt.Fprintln(cmd.OutOrStdout(), clean(text(made, "text")))
	fmt.Fprintf(cmd.ErrOrStderr(),
		"This is the only time the join token is shown. It lets one %s in, until %s.\nJoin at one of: %s\n",
		clean(text(made, "joinToken.role")), moment(made, "joinToken.expiresAt").UTC().Format(time.RFC3339),
		clean(text(made, "addresses")))
	return nil
}

func (a *app) listJoinTokens(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var list struct {
		Items []client.Object `json:"items"`
	}
	if err := c.Do(cmd.Context(), client.Call{Method: http.MethodGet, Path: joinTokensPath}, &list); err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, list.Items)
	}
	t := table{style: styleOf(cmd.OutOrStdout()), head: []string{"ID", "ROLE", "STATE", "EXPIRES", "CREATED BY"}}
	for _, o := range list.Items {
		state, ends := "ready", moment(o, "expiresAt")
		if ends.Before(a.now()) {
			state = "expired"
		}
		t.add(text(o, "id"), text(o, "role"), state, ends.UTC().Format(time.RFC3339), text(o, "createdBy"))
	}
	t.print(cmd.OutOrStdout())
	return nil
}

func (a *app) deleteJoinToken(cmd *cobra.Command, id string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var gone client.Object
	call := client.Call{Method: http.MethodDelete, Path: joinTokensPath + "/" + url.PathEscape(id)}
	if err := c.Do(cmd.Context(), call, &gone); err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, gone)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "join token %s: deleted\n", clean(id))
	return err
}
