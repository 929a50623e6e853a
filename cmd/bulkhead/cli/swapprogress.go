package cli

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// swapProgressCommand shows how far a swap is, and what keeps it.
func (a *app) swapProgressCommand(k kind) *cobra.Command {
	cmd := a.oneTarget(k, "progress", "Show how far a swap is, and what keeps those that are left")
	cmd.Flags().Int("limit", 0, "show at most so many of those that are left, 100 if nothing is said")
	a.reading(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		swap, err := a.find(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		query := url.Values{}
		if limit, _ := cmd.Flags().GetInt("limit"); cmd.Flags().Changed("limit") {
			query.Set("limit", strconv.Itoa(limit))
		}
		answer, err := a.client.Get(cmd.Context(), k.path()+"/"+text(swap, "id")+"/progress", query)
		if err != nil {
			return err
		}
		if a.output != formatTable {
			return encode(cmd.OutOrStdout(), a.output, answer)
		}
		if text(swap, "status.product") == "" {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Swap %s is not planned yet.\n", nameOrID(swap))
			return err
		}
		printSwapProgress(cmd.OutOrStdout(), swap, answer)
		return nil
	}
	return cmd
}

func printSwapProgress(w io.Writer, swap, progress client.Object) {
	fmt.Fprintf(w, "Swap %s: %s, %s\n", nameOrID(swap), clean(text(swap, "status.product")),
		styleOf(w).phase(clean(text(swap, "phase"))))
	line := func(version, count, kept string) {
		fmt.Fprintf(w, "  version %s acts for %s%s\n", clean(text(swap, version)), text(progress, count), kept)
	}
	line("status.toVersion", "moved", "")
	line("status.fromVersion", "left", prefixed(": ", keptWords(progress)))
	items := objects(progress, "items")
	if len(items) == 0 {
		return
	}
	t := table{style: styleOf(w), head: []string{"LEFT", "STATE", "ACTION", "OPERATION"}}
	for _, i := range items {
		t.add(text(i, "resource.kind")+"/"+orElse(text(i, "name"), text(i, "resource.id")), text(i, "state"),
			text(i, "action"), text(i, "operation"))
	}
	fmt.Fprintln(w)
	t.print(w)
}

// keptWords counts those that something keeps.
func keptWords(progress client.Object) string {
	var kept []string
	for _, part := range []struct{ path, words string }{
		{"needsOperator", "for an operator to decide"}, {"suspended", "suspended"}, {"busy", "being worked on"},
	} {
		if n := text(progress, part.path); n != "0" {
			kept = append(kept, n+" "+part.words)
		}
	}
	return strings.Join(kept, ", ")
}
