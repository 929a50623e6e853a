package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func (a *app) listCommand(k kind) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List " + words(k.plural), Args: exactly(0, "")}
	a.declare(cmd, k.filters)
	cmd.Flags().String("name", "", "only the one with this name")
	cmd.Flags().StringSlice("phase", nil, "only those in one of these phases")
	cmd.Flags().StringSliceP("selector", "l", nil, "only those with these labels, key=value")
	if k.newestFirst {
		newestFirst(cmd)
	} else {
		limiting(cmd, "show no more than this many; 0 = all")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query, err := a.listQuery(cmd, k)
		if err != nil {
			return err
		}
		return a.list(cmd, k, query)
	}
	a.reading(cmd)
	return cmd
}

func (a *app) listQuery(cmd *cobra.Command, k kind) (url.Values, error) {
	given := map[string]any{}
	if err := a.collect(cmd.Context(), cmd, k.filters, given); err != nil {
		return nil, err
	}
	query := url.Values{}
	for name, v := range given {
		query.Set(name, show(v))
	}
	set := func(parameter, value string) {
		if value != "" {
			query.Set(parameter, value)
		}
	}
	flags := cmd.Flags()
	name, _ := flags.GetString("name")
	phases, _ := flags.GetStringSlice("phase")
	labels, _ := flags.GetStringSlice("selector")
	set("name", name)
	set("phase", strings.Join(phases, ","))
	set("labelSelector", strings.Join(labels, ","))
	return query, nil
}

func (a *app) list(cmd *cobra.Command, k kind, query url.Values) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	items, err := a.gather(cmd, c, k.path(), query)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, items)
	}
	a.printList(cmd.Context(), cmd.OutOrStdout(), k, items)
	return nil
}

// bearable is how many of a list that grows for ever a table shows unasked.
const bearable = 50

// newestFirst adds the flags of lists that grow for ever.
func newestFirst(cmd *cobra.Command) {
	limiting(cmd, fmt.Sprintf("show no more than this many; 0 = all; if not given, a table shows %d", bearable))
	cmd.Flags().Bool("oldest-first", false, "begin with the oldest instead of the newest")
}

// gather reads a list as the flags of the command want it: how many, and from
// which end.
func (a *app) gather(cmd *cobra.Command, c *client.Client, path string, query url.Values) ([]any, error) {
	limit := amountOf(cmd, "limit")
	order := cmd.Flags().Lookup("oldest-first")
	if order == nil || order.Value.String() == "true" {
		return first(cmd.Context(), c, path, query, limit)
	}
	query.Set("order", "newest")
	if cmd.Flags().Changed("limit") || a.output != formatTable {
		return first(cmd.Context(), c, path, query, limit)
	}
	items, err := first(cmd.Context(), c, path, query, bearable+1)
	if len(items) > bearable {
		items = items[:bearable]
		fmt.Fprintf(cmd.ErrOrStderr(), "These are the newest %d; --limit 0 shows all.\n", bearable)
	}
	return items, err
}

// first reads the beginning of a list; limit 0 = all of it.
func first(ctx context.Context, c *client.Client, path string, query url.Values, limit int) ([]any, error) {
	size := largestPage
	if limit > 0 {
		size = min(limit, largestPage)
	}
	query.Set("pageSize", strconv.Itoa(size))
	items := []any{}
	err := c.List(ctx, path, query, func(o client.Object) bool {
		items = append(items, o)
		return limit == 0 || len(items) < limit
	})
	return items, err
}

// largestPage is the most that the zone answers at once.
const largestPage = 1000

func (a *app) printList(ctx context.Context, w io.Writer, k kind, items []any) {
	t := table{style: styleOf(w), head: []string{"NAME"}}
	if k.name == "operation" {
		t.head[0] = "ID"
	}
	for _, c := range k.columns {
		t.head = append(t.head, c.head)
	}
	t.head = append(t.head, "PHASE", "AGE")
	for _, item := range items {
		o, _ := item.(map[string]any)
		row := []string{nameOrID(o)}
		for _, c := range k.columns {
			row = append(row, a.cell(ctx, o, c))
		}
		t.add(append(row, a.phaseText(o), age(a.now(), moment(o, "createdAt")))...)
	}
	t.print(w)
}

// phaseText is the phase, and whether work is held back or a token is of no use
// any more.
func (a *app) phaseText(o map[string]any) string {
	if end := moment(o, "spec.expiresAt"); text(o, "kind") == "token" && !end.IsZero() && end.Before(a.now()) {
		return "expired"
	}
	if at(o, "suspended") == true {
		return text(o, "phase") + " (suspended)"
	}
	return text(o, "phase")
}

func (a *app) cell(ctx context.Context, o map[string]any, c column) string {
	switch c.as {
	case asSize:
		return size(o, c.path)
	case asReference:
		return a.nameOf(ctx, c.kind, text(o, c.path))
	case asWords:
		return short(orElse(text(o, c.path), text(o, c.or)))
	default:
		return orElse(orElse(text(o, c.path), text(o, c.or)), c.none)
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// longest is how much of a long text a table shows.
const longest = 80

// short cuts a text for a table.
func short(text string) string {
	runes := []rune(text)
	if len(runes) <= longest {
		return text
	}
	return string(runes[:longest-1]) + "…"
}

func (a *app) showCommand(k kind) *cobra.Command {
	cmd := a.oneTarget(k, "show", "Show one "+words(k.name))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := a.find(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		acting, unknown := a.acting(cmd.Context(), k, o)
		if acting != nil {
			o["driver"] = acting
		}
		if err := a.print(cmd.OutOrStdout(), o); err != nil || unknown == nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "Which driver acts for it is not known:")
		explain(cmd.ErrOrStderr(), unknown, styleOf(cmd.ErrOrStderr()))
		return nil
	}
	a.reading(cmd)
	return cmd
}

// acting is which version of a driver acts for a resource, for a table; nil if none does.
func (a *app) acting(ctx context.Context, k kind, o client.Object) (map[string]any, error) {
	if a.output != formatTable || !slices.Contains(resources.Driven(), resources.Kind(k.name)) {
		return nil, nil
	}
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	answer, err := c.Get(ctx, k.path()+"/"+text(o, "id")+"/driver", nil)
	if p, is := errors.AsType[*client.Problem](err); is && p.Code == "no-driver" {
		return nil, nil
	}
	return answer, err
}

// print shows one resource.
func (a *app) print(w io.Writer, o client.Object) error { return present(w, a.output, o) }

// Show prints an object the way that the command's --output asks for.
func Show(cmd *cobra.Command, o map[string]any) error {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	return present(cmd.OutOrStdout(), format, o)
}

func present(w io.Writer, format string, o client.Object) error {
	if format != formatTable {
		return encode(w, format, o)
	}
	p := printer{w: w, style: styleOf(w)}
	first := []string{"name", "id", "phase", "reason", "suspended", "labels", "revision", "createdAt", "updatedAt"}
	for _, name := range first {
		if v, ok := o[name]; ok {
			p.value(name, v, 0)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if name != "kind" && !slices.Contains(first, name) {
			p.value(name, o[name], 0)
		}
	}
	return nil
}

// printer writes objects as indented lines.
type printer struct {
	w     io.Writer
	style style
}

func (p printer) value(name string, v any, depth int) {
	indent := strings.Repeat("  ", depth)
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return
		}
		fmt.Fprintf(p.w, "%s%s:\n", indent, p.style.dim(clean(name)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			p.value(k, v[k], depth+1)
		}
	case []any:
		p.list(name, v, depth)
	default:
		fmt.Fprintf(p.w, "%s%s: %s\n", indent, p.style.dim(clean(name)), p.scalar(name, v))
	}
}

func (p printer) list(name string, list []any, depth int) {
	indent := strings.Repeat("  ", depth)
	if len(list) == 0 {
		return
	}
	if _, objects := list[0].(map[string]any); !objects {
		fmt.Fprintf(p.w, "%s%s: %s\n", indent, p.style.dim(clean(name)), clean(show(list)))
		return
	}
	fmt.Fprintf(p.w, "%s%s:\n", indent, p.style.dim(clean(name)))
	for _, e := range list {
		m, _ := e.(map[string]any)
		mark := "- "
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(p.w, "%s  %s%s: %s\n", indent, mark, p.style.dim(clean(k)), p.scalar(k, m[k]))
			mark = "  "
		}
	}
}

func (p printer) scalar(name string, v any) string {
	text := clean(show(v))
	if n, ok := v.(json.Number); ok && strings.HasSuffix(strings.ToLower(name), "bytes") {
		if f, err := n.Float64(); err == nil {
			return formatSize(f) + " (" + text + ")"
		}
	}
	if name == "phase" || name == "state" {
		return p.style.phase(text)
	}
	return text
}
