package cli

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// propertiesCommand shows what a driver wants to be told.
func (a *app) propertiesCommand(k kind) *cobra.Command {
	cmd := a.oneTarget(k, "properties", "Show the properties that a driver wants to be told, by scope")
	cmd.Long = "Show the properties that a driver wants to be told: those of the driver itself, which are set with\n" +
		"'bulkhead driver update', and those of pools, hosts, networks and so on, which are given when one is made.\n" +
		"The texts are in the language of LC_ALL, LC_MESSAGES or LANG, if the driver speaks it."
	cmd.Flags().String("scope", "", "only those of this scope: driver, pool, host, network, image-store, volume, "+
		"machine, or of an operation, such as volume/grow")
	cmd.Flags().Bool("schema", false, "print the JSON Schema of the scope, for programs; of the driver if none is given")
	a.reading(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		driver, err := a.find(cmd.Context(), k.name, args[0])
		if err != nil {
			return err
		}
		scope, _ := cmd.Flags().GetString("scope")
		if asSchema, _ := cmd.Flags().GetBool("schema"); asSchema {
			return a.printSchema(cmd, text(driver, "id"), scope)
		}
		var found []any
		all, _ := at(driver, "status.properties").([]any)
		for _, p := range all {
			if one, ok := p.(client.Object); ok && (scope == "" || text(one, "scope") == scope) {
				found = append(found, one)
			}
		}
		return a.printProperties(cmd, found)
	}
	return cmd
}

func (a *app) printSchema(cmd *cobra.Command, id, scope string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	query := url.Values{}
	if scope != "" {
		query.Set("scope", scope)
	}
	answer, err := c.Get(cmd.Context(), "/v1/drivers/"+id+"/schema", query)
	if err != nil {
		return err
	}
	schema := at(answer, "schema")
	if a.output == formatTable { // a schema has no columns
		return encode(cmd.OutOrStdout(), formatJSON, schema)
	}
	return encode(cmd.OutOrStdout(), a.output, schema)
}

func (a *app) printProperties(cmd *cobra.Command, all []any) error {
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, append([]any{}, all...))
	}
	t := table{
		style: styleOf(cmd.OutOrStdout()),
		head:  []string{"SCOPE", "KEY", "LABEL", "TYPE", "NEEDED", "DEFAULT", "ALLOWED", "ABOUT"},
	}
	for _, p := range all {
		one, ok := p.(client.Object)
		if !ok {
			continue
		}
		t.add(text(one, "scope"), text(one, "key"), text(one, "label"), propertyType(one), propertyNeed(one),
			show(one["default"]), propertyLimits(one), text(one, "description"))
	}
	t.print(cmd.OutOrStdout())
	return nil
}

func propertyType(p client.Object) string {
	switch {
	case p["secret"] == true:
		return "secret"
	case text(p, "pathAccess") != "":
		return "path"
	}
	return text(p, "type")
}

func propertyNeed(p client.Object) string {
	var words []string
	if p["required"] == true {
		words = append(words, "yes")
	}
	if p["immutable"] == true {
		words = append(words, "fixed")
	}
	if role := text(p, "role"); role != "" {
		words = append(words, "by "+role)
	}
	if text(p, "denied") != "" {
		words = append(words, "not by you")
	}
	return strings.Join(words, ", ")
}

// propertyLimits says which values are allowed, shortly. A pattern is left to the schema: what it means is described.
func propertyLimits(p client.Object) string {
	low, high := show(p["min"]), show(p["max"])
	values, _ := p["enum"].([]any)
	switch {
	case len(values) > 0:
		var all []string
		for _, v := range values {
			all = append(all, show(v))
		}
		return strings.Join(all, " | ")
	case low != "" && high != "":
		return low + " .. " + high
	case low != "":
		return "at least " + low
	case high != "":
		return "at most " + high
	case show(p["maxLength"]) != "":
		return fmt.Sprintf("at most %s bytes", show(p["maxLength"]))
	}
	return ""
}

// languages are those of the user, as an Accept-Language header lists them: of de_AT.UTF-8 it is "de-AT, en;q=0.5".
func languages() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		tag, _, _ := strings.Cut(value, ".")
		tag, _, _ = strings.Cut(tag, "@")
		if tag = strings.ReplaceAll(tag, "_", "-"); tag == "C" || tag == "POSIX" || strings.Trim(tag, languageLetters) != "" {
			return ""
		}
		return tag + ", en;q=0.5"
	}
	return ""
}

const languageLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
