package cli

import (
	"context"
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

// recoveryFields are the zone's settings of it.
func recoveryFields() []field {
	return []field{
		{
			flag: "recovery-suspect", path: "spec.recovery.suspectSeconds", as: asNumber,
			usage: "seconds that a host must not answer before anything is done",
		},
		{
			flag: "recovery-fraction", path: "spec.recovery.fraction", as: asDecimal,
			usage: "share of the hosts, 0 to 1, that must go at once for nothing to be done without a release",
		},
		{
			flag: "recovery-window", path: "spec.recovery.windowSeconds", as: asNumber,
			usage: "seconds within which hosts go at once",
		},
		{
			flag: "recovery-at-once", path: "spec.recovery.atOnce", as: asNumber,
			usage: "how many machines are started elsewhere at the same time",
		},
	}
}

// suspectedHosts lists the hosts that do not answer.
func suspectedHosts(ctx context.Context, c *client.Client) ([]client.Object, error) {
	lost := []client.Object{}
	query := url.Values{"phase": {"degraded"}, "pageSize": {"500"}}
	for {
		var page struct {
			Items []client.Object `json:"items"`
			Next  string          `json:"nextPageToken"`
		}
		call := client.Call{Method: http.MethodGet, Path: "/v1/hosts", Query: query}
		if err := c.Do(ctx, call, &page); err != nil {
			return nil, err
		}
		for _, h := range page.Items {
			if at(h, "status.suspicion") != nil {
				lost = append(lost, h)
			}
		}
		if page.Next == "" {
			return lost, nil
		}
		query.Set("pageToken", page.Next)
	}
}

func (a *app) recoveryStatus(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	lost, err := suspectedHosts(cmd.Context(), c)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, lost)
	}
	if len(lost) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "All hosts answer.")
		return err
	}
	t := table{
		style: styleOf(cmd.OutOrStdout()), head: []string{"HOST", "SILENT", "PROOF THAT IT IS OFF", "ALARM"},
	}
	for _, h := range lost {
		t.add(nameOrID(h), age(a.now(), moment(h, "status.suspicion.since")), proofOf(h),
			orElse(text(h, "status.alarm.message"), "none"))
	}
	t.print(cmd.OutOrStdout())
	return nil
}

// proofOf says why a host is known to be off.
func proofOf(h client.Object) string {
	switch proof := text(h, "status.fence.proof"); proof {
	case "":
		return "none"
	case "attested":
		return "attested by " + text(h, "status.fence.by")
	default:
		return proof
	}
}

// releaseRecovery releases the hosts that are suspected now: what is written down is when the last of them went, by the
// zone's clock. The clock of this computer may be another one.
func (a *app) releaseRecovery(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	lost, err := suspectedHosts(cmd.Context(), c)
	if err != nil {
		return err
	}
	var last time.Time
	for _, h := range lost {
		if at := moment(h, "status.suspicion.since"); at.After(last) {
			last = at
		}
	}
	if last.IsZero() {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "All hosts answer: there is nothing to release.")
		return err
	}
	body := map[string]any{"spec": map[string]any{"recovery": map[string]any{
		"releasedAt": last.UTC().Format(time.RFC3339Nano),
	}}}
	var operation client.Object
	call := client.Call{Method: http.MethodPatch, Path: "/v1/zone", Body: body}
	if err := c.Do(cmd.Context(), call, &operation); err != nil {
		return err
	}
	return a.finish(cmd, operation)
}
