package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// recoveryCommand makes the commands of the recovery of machines whose host is lost.
func (a *app) recoveryCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "ha", Short: "Lost hosts, and the recovery of their machines"})
	status := &cobra.Command{
		Use: "status", Short: "Show hosts that do not answer, and what their machines wait for", Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.recoveryStatus(cmd) },
	}
	a.reading(status)
	release := &cobra.Command{
		Use: "release", Short: "Let machines be recovered although many hosts went at once", Args: exactly(0, ""),
		Long: "Let machines be recovered although many hosts went at once. Look first whether the hosts are really lost:\n" +
			"a switch that fails looks the same, and then their power is cut.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.releaseRecovery(cmd) },
	}
	changing(release)
	cmd.AddCommand(status, release)
	return cmd
}

func (a *app) recoveryStatus(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	lost := []client.Object{}
	query := url.Values{"phase": {"degraded"}, "pageSize": {"500"}}
	for {
		var page struct {
			Items []client.Object `json:"items"`
			Next  string          `json:"nextPageToken"`
		}
		call := client.Call{Method: http.MethodGet, Path: "/v1/hosts", Query: query}
		if err := c.Do(cmd.Context(), call, &page); err != nil {
			return err
		}
		for _, h := range page.Items {
			if at(h, "status.suspicion") != nil {
				lost = append(lost, h)
			}
		}
		if page.Next == "" {
			break
		}
		query.Set("pageToken", page.Next)
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, lost)
	}
	t := table{
		style: styleOf(cmd.OutOrStdout()), head: []string{"HOST", "SILENT", "PROOF THAT IT IS OFF", "WHY", "ALARM"},
	}
	for _, h := range lost {
		t.add(nameOrID(h), age(a.now(), moment(h, "status.suspicion.since")), orElse(text(h, "status.fence.proof"), "none"),
			text(h, "status.suspicion.reason"), text(h, "status.alarm.message"))
	}
	if len(lost) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "All hosts answer.")
		return err
	}
	t.print(cmd.OutOrStdout())
	return nil
}

func (a *app) releaseRecovery(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	body := map[string]any{"spec": map[string]any{"recovery": map[string]any{
		"releasedAt": a.now().UTC().Format(time.RFC3339),
	}}}
	var operation client.Object
	call := client.Call{Method: http.MethodPatch, Path: "/v1/zone", Body: body}
	if err := c.Do(cmd.Context(), call, &operation); err != nil {
		return err
	}
	return a.finish(cmd, operation)
}
