package cli

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// logsCommand shows what a driver printed.
func (a *app) logsCommand(k kind) *cobra.Command {
	cmd := a.oneTarget(k, "logs", "Show what a driver printed last, on each node and agent")
	cmd.Long = "Show what the processes of a driver printed last, on each node and agent, whether one runs now or not.\n" +
		"Where several have printed something, each line begins with the node or agent."
	cmd.Flags().String("node", "", "only of this node or agent")
	cmd.Flags().Int("lines", 0, "show at most so many lines of each node and agent, 100 if nothing is said")
	a.reading(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		driver, err := a.find(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		return a.showLogs(cmd, text(driver, "id"))
	}
	return cmd
}

func (a *app) showLogs(cmd *cobra.Command, id string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	query := url.Values{}
	if node, _ := cmd.Flags().GetString("node"); cmd.Flags().Changed("node") {
		query.Set("node", node)
	}
	if lines, _ := cmd.Flags().GetInt("lines"); cmd.Flags().Changed("lines") {
		query.Set("lines", strconv.Itoa(lines))
	}
	answer, err := c.Get(cmd.Context(), "/v1/drivers/"+id+"/logs", query)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, answer)
	}
	if printLogs(cmd.OutOrStdout(), answer) == 0 && len(list(answer, "unanswered")) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was printed.")
	}
	printUnanswered(cmd.ErrOrStderr(), answer)
	return nil
}

// printLogs returns how many lines there were.
func printLogs(w io.Writer, answer client.Object) (count int) {
	var said []client.Object
	for _, i := range objects(answer, "items") {
		if len(list(i, "lines")) > 0 {
			said = append(said, i)
		}
	}
	for _, i := range said {
		prefix := ""
		if len(said) > 1 {
			prefix = clean(text(i, "node")) + "  "
		}
		for _, line := range list(i, "lines") {
			fmt.Fprintln(w, prefix+clean(show(line)))
			count++
		}
	}
	return count
}
