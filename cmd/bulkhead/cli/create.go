package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

func (a *app) createCommand(k kind) *cobra.Command {
	use := "create [name]"
	if k.named {
		use = "create <name>"
	}
	cmd := &cobra.Command{Use: use, Short: "Create " + k.one(), Args: atMostOne}
	changing(cmd)
	a.declare(cmd, k.create)
	cmd.Flags().StringArray("label", nil, "label, key=value")
	cmd.Flags().
		StringP("from-file", "f", "", "file with the request in YAML or JSON, - is standard input; flags win over it")
	if k.planned {
		cmd.Flags().Bool("dry-run", false, "show what would be done and where, and do nothing")
	}
	if k.name == "rule" {
		a.ruleFlags(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := a.newBody(cmd, k, args)
		if err != nil {
			return err
		}
		if dry, _ := cmd.Flags().GetBool("dry-run"); dry {
			return a.plan(cmd, k, body)
		}
		switch {
		case k.name == "token":
			return a.createToken(cmd, body)
		case k.name == "template" && at(body, "spec.upload") == true:
			return a.createUpload(cmd, body)
		}
		operation, err := a.post(cmd, k.path(), body)
		if err != nil {
			return err
		}
		return a.finish(cmd, operation)
	}
	return cmd
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(fmt.Sprintf("'%s' takes one name", cmd.CommandPath()), "run '"+cmd.CommandPath()+" --help'")
	}
	return nil
}

func (a *app) post(cmd *cobra.Command, path string, body any) (client.Object, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	var out client.Object
	err = c.Do(cmd.Context(), client.Call{Method: http.MethodPost, Path: path, Body: body}, &out)
	return out, err
}

// newBody makes the body of a creation out of a file, flags and the name.
func (a *app) newBody(cmd *cobra.Command, k kind, args []string) (map[string]any, error) {
	body := map[string]any{"spec": map[string]any{}}
	file, _ := cmd.Flags().GetString("from-file")
	if file != "" {
		content, err := readContent(cmd.InOrStdin(), file)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal([]byte(content), &body); err != nil {
			return nil, usage(file+" is neither YAML nor JSON: "+err.Error(), "")
		}
	} else if err := demand(cmd, k.required); err != nil {
		return nil, err
	}
	if err := a.collect(cmd.Context(), cmd, k.create, body); err != nil {
		return nil, err
	}
	labels, err := readLabels(cmd)
	if err != nil {
		return nil, err
	}
	for key, v := range labels {
		put(body, "labels", withLabel(body["labels"], key, v))
	}
	if len(args) == 1 {
		body["name"] = args[0]
	}
	if k.named && body["name"] == nil {
		return nil, usage(fmt.Sprintf("'%s' needs a name", cmd.CommandPath()), "run '"+cmd.CommandPath()+" --help'")
	}
	if k.name == "rule" {
		return body, a.completeRule(cmd, body)
	}
	return body, nil
}

func withLabel(labels any, key string, v any) map[string]any {
	m, ok := labels.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	m[key] = v
	return m
}

// readLabels reads key=value, and key- which takes a label away.
func readLabels(cmd *cobra.Command) (map[string]any, error) {
	given, _ := cmd.Flags().GetStringArray("label")
	m := map[string]any{}
	for _, pair := range given {
		key, value, ok := strings.Cut(pair, "=")
		switch away, removed := strings.CutSuffix(pair, "-"); {
		case ok && key != "":
			m[key] = value
		case removed && away != "" && !ok:
			m[away] = nil
		default:
			return nil, usage("--label: must be key=value, not "+pair, "")
		}
	}
	return m, nil
}

// plan shows what a creation would do.
func (a *app) plan(cmd *cobra.Command, k kind, body map[string]any) error {
	p, err := a.post(cmd, k.path()+"/actions/plan", body)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, p)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "To create this %s:\n", words(k.name))
	steps, _ := p["steps"].([]any)
	for i, s := range steps {
		fmt.Fprintf(w, "  %d. %s\n", i+1, clean(show(s)))
	}
	choices, _ := p["choices"].([]any)
	for _, c := range choices {
		choice, _ := c.(map[string]any)
		where := text(choice, "name")
		if where == "" {
			where = text(choice, "chosen.id")
		}
		if where == "" {
			where = "nowhere"
		}
		fmt.Fprintf(
			w,
			"  %s: %s\n",
			clean(text(choice, "for")),
			clean(strings.TrimSpace(text(choice, "chosen.kind")+" "+where)),
		)
	}
	if failure := client.FailureOf(p); failure != nil {
		return failure
	}
	return nil
}

func (a *app) updateCommand(k kind) *cobra.Command {
	cmd := a.oneTarget(k, "update", "Change "+k.one())
	changing(cmd)
	fields := clearing(k.update)
	cmd.Long = aboutUpdates(cmd.Short, fields)
	a.declare(cmd, fields)
	cmd.Flags().String("name", "", "new name")
	cmd.Flags().StringArray("label", nil, "label to set, key=value; key- takes one away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := a.patchBody(cmd, fields)
		if err != nil {
			return err
		}
		return a.change(cmd, k, args[0], http.MethodPatch, "", body)
	}
	return cmd
}

// aboutUpdates is the help of a command that changes settings.
func aboutUpdates(short string, fields []field) string {
	if len(fields) == 0 {
		return short + ". What is not given stays as it is."
	}
	about := short + ". What is not given stays as it is; a list is replaced as a whole.\n" +
		"An empty value takes a setting away, as in --" + fields[0].flag + " ''"
	if slices.ContainsFunc(fields, func(f field) bool { return f.as == asProperties }) {
		about += "; key=null takes a property away"
	}
	return about + "."
}

func (a *app) patchBody(cmd *cobra.Command, fields []field) (map[string]any, error) {
	body := map[string]any{}
	if err := a.collect(cmd.Context(), cmd, fields, body); err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("name") {
		body["name"], _ = cmd.Flags().GetString("name")
	}
	labels, err := readLabels(cmd)
	if err != nil {
		return nil, err
	}
	if len(labels) > 0 {
		body["labels"] = labels
	}
	if len(body) == 0 {
		return nil, usage("nothing to change was given", "run '"+cmd.CommandPath()+" --help'")
	}
	return body, nil
}
