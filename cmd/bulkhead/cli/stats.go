package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// statsCommand shows how a driver does.
func (a *app) statsCommand(k kind) *cobra.Command {
	cmd := a.oneTarget(k, "stats", "Show how a driver does on each node and agent: calls, times, failures")
	cmd.Long = "Show how a driver does on each node and agent: its process, how often it is called and how long that\n" +
		"takes, what went wrong last, and what it counts itself. With --resources or --resource: for which resources it\n" +
		"was called; each node and agent remembers the 1024 that its instance was called for last."
	cmd.Flags().Bool("resources", false, "show the resources that it was called for last")
	cmd.Flags().String("resource", "", "show the calls for this resource: its id, or its kind and name, volume/data")
	cmd.Flags().Int("limit", 0, "show at most so many resources of each node and agent")
	a.reading(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		driver, err := a.find(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		resources, _ := cmd.Flags().GetBool("resources")
		if resources || cmd.Flags().Changed("resource") {
			return a.showCalls(cmd, text(driver, "id"))
		}
		if cmd.Flags().Changed("limit") {
			return usage("--limit is of resources", "give --resources too")
		}
		return a.showInstances(cmd, driver)
	}
	return cmd
}

func (a *app) showInstances(cmd *cobra.Command, driver client.Object) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	answer, err := c.Get(cmd.Context(), "/v1/drivers/"+text(driver, "id")+"/instances", nil)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if a.output != formatTable {
		return encode(w, a.output, answer)
	}
	fmt.Fprintf(w, "%s %s\n", clean(text(driver, "spec.product")), clean(text(driver, "spec.version")))
	for _, b := range objects(answer, "bound") {
		fmt.Fprintf(w, "  acts for %s\n", clean(boundWords(b)))
	}
	for _, i := range objects(answer, "items") {
		printInstance(w, i)
	}
	printUnanswered(w, answer)
	return nil
}

func boundWords(b client.Object) string {
	words := text(b, "count") + " of kind " + text(b, "kind")
	if node := text(b, "node"); node != "" {
		words += " on " + node
	}
	if list := text(b, "list"); list != "" {
		words += ": " + list
	}
	return words
}

// objects are those of a list.
func objects(o client.Object, path string) (all []client.Object) {
	list, _ := at(o, path).([]any)
	for _, one := range list {
		if m, ok := one.(client.Object); ok {
			all = append(all, m)
		}
	}
	return all
}

// printInstance says how one instance does.
func printInstance(w io.Writer, i client.Object) {
	s := styleOf(w)
	fmt.Fprintf(w, "\n%s  %s\n", clean(text(i, "node")), s.phase(clean(text(i, "state"))))
	line := func(what string, parts ...string) {
		var said []string
		for _, p := range parts {
			if p != "" {
				said = append(said, clean(p))
			}
		}
		if len(said) > 0 {
			fmt.Fprintf(w, "  %-11s%s\n", what, strings.Join(said, ", "))
		}
	}
	line("process", process(i), prefixed("health ", text(i, "health")), text(i, "reason"),
		prefixed("restarts ", text(i, "restarts")))
	line("isolation", text(i, "isolation"))
	line("uses", size(i, "memoryBytes"), suffixed(text(i, "cpuSeconds"), "s of processor time"))
	line("calls", rate(i)+" each second", text(i, "inFlight")+" in flight", text(i, "waiting")+" waiting",
		prefixed("counted since ", text(i, "since")))
	line("registers", registers(i)...)
	for _, refused := range list(i, "metrics.refused") {
		line("left out", show(refused))
	}
	printMethods(w, objects(i, "methods"))
	printErrors(w, objects(i, "lastErrors"))
}

func list(o client.Object, path string) []any {
	all, _ := at(o, path).([]any)
	return all
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func suffixed(text, suffix string) string {
	if text == "" {
		return ""
	}
	return text + suffix
}

func process(i client.Object) string {
	pid := text(i, "pid")
	if pid == "" {
		return "none"
	}
	since := moment(i, "startedAt")
	if since.IsZero() {
		return pid
	}
	return pid + " for " + age(time.Now(), since)
}

func number(o client.Object, path string) float64 {
	n, _ := at(o, path).(json.Number)
	f, err := n.Float64()
	if err != nil {
		return 0
	}
	return f
}

func rate(o client.Object) string { return strconv.FormatFloat(number(o, "perSecond"), 'f', 2, 64) }

// seconds writes a time as people read it: 11ms, 1.25s.
func seconds(o client.Object, path string) string {
	took := time.Duration(number(o, path) * float64(time.Second))
	switch {
	case took >= time.Second:
		return took.Round(10 * time.Millisecond).String()
	case took >= time.Millisecond:
		return took.Round(100 * time.Microsecond).String()
	}
	return took.Round(time.Microsecond).String()
}

func registers(i client.Object) (parts []string) {
	if at(i, "metrics") == nil {
		return nil
	}
	parts = append(parts, text(i, "metrics.series")+" series at "+text(i, "metrics.at"))
	for _, name := range list(i, "metrics.names") {
		parts = append(parts, show(name))
	}
	return append(parts, prefixed("the last answer could not be read: ", text(i, "metrics.error")))
}

func printMethods(w io.Writer, methods []client.Object) {
	if len(methods) == 0 {
		return
	}
	t := table{style: styleOf(w), head: []string{
		"METHOD", "CALLS", "FAILED", "PER SECOND", "IN FLIGHT", "MEAN", "P50", "P99",
	}}
	for _, m := range methods {
		failed := number(m, "calls") - number(m, "outcomes.ok") - number(m, "outcomes.canceled")
		t.add(text(m, "method"), text(m, "calls"), strconv.FormatFloat(failed, 'f', 0, 64), rate(m), text(m, "inFlight"),
			seconds(m, "meanSeconds"), seconds(m, "p50Seconds"), seconds(m, "p99Seconds"))
	}
	t.print(w)
}

func printErrors(w io.Writer, failures []client.Object) {
	if len(failures) == 0 {
		return
	}
	t := table{style: styleOf(w), head: []string{"FAILED AT", "METHOD", "RESOURCE", "CLASS", "CODE", "MESSAGE"}}
	for _, e := range failures {
		t.add(text(e, "at"), orElse(text(e, "method"), "(process)"), refWords(e, "resource"), text(e, "class"),
			text(e, "code"), short(text(e, "message")))
	}
	t.print(w)
}

func refWords(o client.Object, path string) string {
	if at(o, path) == nil {
		return ""
	}
	return text(o, path+".kind") + "/" + text(o, path+".id")
}

func printUnanswered(w io.Writer, answer client.Object) {
	for _, one := range objects(answer, "unanswered") {
		fmt.Fprintf(w, "\n%s  did not answer: %s\n", clean(text(one, "node")), clean(text(one, "reason")))
	}
}

// showCalls says for which resources a driver was called.
func (a *app) showCalls(cmd *cobra.Command, id string) error {
	query, err := a.callsQuery(cmd)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	answer, err := c.Get(cmd.Context(), "/v1/drivers/"+id+"/calls", query)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if a.output != formatTable {
		return encode(w, a.output, answer)
	}
	t := table{style: styleOf(w), head: []string{
		"NODE", "RESOURCE", "CALLS", "FAILED", "MEAN", "LONGEST", "LAST AT", "LAST CALL", "LAST ERROR",
	}}
	for _, r := range objects(answer, "items") {
		t.add(text(r, "node"), refWords(r, "resource"), text(r, "calls"), text(r, "failed"), seconds(r, "meanSeconds"),
			seconds(r, "longestSeconds"), text(r, "lastAt"), text(r, "lastMethod")+" "+text(r, "lastOutcome"),
			short(strings.TrimSpace(text(r, "lastError.code")+" "+text(r, "lastError.message"))))
	}
	t.print(w)
	printUnanswered(w, answer)
	return nil
}

func (a *app) callsQuery(cmd *cobra.Command) (url.Values, error) {
	query := url.Values{}
	if limit, _ := cmd.Flags().GetInt("limit"); cmd.Flags().Changed("limit") {
		query.Set("limit", strconv.Itoa(limit))
	}
	of, _ := cmd.Flags().GetString("resource")
	name, target, named := strings.Cut(of, "/")
	if !named {
		if of != "" {
			query.Set("resource", of)
		}
		return query, nil
	}
	if kindNamed(name).name == "" {
		return nil, usage("--resource: there is no kind "+name, "give an id, or kind and name, such as volume/data")
	}
	found, err := a.find(cmd.Context(), name, target)
	if err != nil {
		return nil, err
	}
	query.Set("kind", name)
	query.Set("resource", text(found, "id"))
	return query, nil
}
