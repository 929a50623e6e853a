package cli

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// copyFields are what a copy of a version has of its own.
func copyFields() []field {
	differ := properties()
	differ.path = "properties"
	differ.usage = "setting that differs, key=value; key=@file reads a file, @- standard input, key=null takes it away"
	return []field{
		differ,
		{flag: "as", path: "label", usage: "what tells it from the version: 1.5.0+LABEL; chosen if not given"},
	}
}

// copyCommand copies a version of a driver.
func (a *app) copyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "copy <driver>", Short: "Copy a version of a driver, to give it other settings", Args: exactly(1, "<driver>"),
		ValidArgsFunction: a.completeTarget("driver", false),
		Long: "Copy a version of a driver, to give it other settings: the same program, in processes of its own beside\n" +
			"the first. Nothing is bound to it before a swap: 'bulkhead swap create'. Both in one: 'bulkhead driver\n" +
			"configure'.",
	}
	fields := copyFields()
	changing(cmd)
	a.declare(cmd, fields)
	cmd.Flags().String("name", "", "name of the copy")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, _ := cmd.Flags().GetString("name")
		operation, err := a.copyDriver(cmd, args[0], name, fields)
		if err != nil {
			return err
		}
		return a.finish(cmd, operation)
	}
	return cmd
}

// configureCommand copies a version and swaps to the copy.
func (a *app) configureCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "configure <driver>", Short: "Change settings of a driver by a swap, resource by resource",
		Args: exactly(1, "<driver>"), ValidArgsFunction: a.completeTarget("driver", false),
		Long: "Change settings of a driver resource by resource: copy the version with other settings, and plan to have\n" +
			"the copy act for what the version acts for now. The settings are taken back by themselves if they do harm.\n" +
			"'bulkhead driver update' changes settings for all at once.",
	}
	own, swapped := copyFields(), swapFields()
	a.planning(cmd, swapped)
	a.declare(cmd, own)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed(own[0].flag) {
			return usage("--property: must be given", "name the settings that are to be others, such as --property key=value")
		}
		from, err := a.versionOf(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		operation, err := a.copyDriver(cmd, args[0], "", own)
		if err != nil {
			return err
		}
		if operation, err = a.await(cmd, operation); err != nil {
			return err
		}
		if text(operation, "phase") != "succeeded" {
			return a.outcome(cmd.OutOrStdout(), operation)
		}
		driver, err := a.acquainted(cmd, text(operation, "target.id"))
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "driver %s: copied\n", nameOrID(driver))
		return a.planSwap(cmd, swapped, from, text(driver, "id"))
	}
	return cmd
}

// copyDriver asks for a copy of a version.
func (a *app) copyDriver(cmd *cobra.Command, named, name string, fields []field) (client.Object, error) {
	id, err := a.versionOf(cmd.Context(), named)
	if err != nil {
		return nil, err
	}
	body := map[string]any{}
	if name != "" {
		body["name"] = name
	}
	if err := a.collect(cmd.Context(), cmd, fields, body); err != nil {
		return nil, err
	}
	return a.post(cmd, "/v1/drivers/"+url.PathEscape(id)+"/actions/copy", body)
}
