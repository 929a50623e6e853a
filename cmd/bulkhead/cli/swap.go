package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func swapKind() kind {
	return kind{
		name: "swap", plural: "swaps", short: "Swaps: another version of a driver acts, while its resources are used",
		deletable: true, suspendable: true,
		columns: []column{
			textColumn("PRODUCT", "status.product"), textColumn("FROM", "status.fromVersion"),
			textColumn("TO", "status.toVersion"), textColumn("MOVED", "status.moved"), textColumn("LEFT", "status.left"),
		},
		filters: []field{
			{flag: "product", path: "product", usage: "only swaps between versions of this product"},
			{flag: "to", path: "to", as: asVersion, kind: "driver", usage: "only swaps to this version: a driver"},
		},
		actions: []action{
			{
				name: "start", short: "Begin a swap that was planned, or taken back",
				answer: "status.moved", about: "resources moved:",
			},
			{name: "roll-back", short: "Have the version of before act again for all that a swap moved"},
		},
	}
}

// swapFields are those that say what a swap is for, and how it goes about it.
func swapFields() []field {
	return []field{
		{flag: "resource", path: "spec.scope.resource", as: asRef, usage: "only this resource"},
		{
			flag: "owner", path: "spec.scope.owner", as: asRef,
			usage: "only this host, pool, image store or network, and what is in or on it",
		},
		{flag: "canary", path: "spec.canaries", as: asRefs, usage: "resource to move first; chosen if none is named"},
		{flag: "canaries", path: "spec.canaryCount", as: asNumber, usage: "how many to move first if none is named; 1"},
		{
			flag: "observe", path: "spec.observeSeconds", as: asSeconds,
			usage: fmt.Sprintf("how long to observe them first; %ds", resources.DefaultObserveSeconds),
		},
		{
			flag: "settle", path: "spec.settleSeconds", as: asSeconds,
			usage: fmt.Sprintf("how long to observe all in the end; %ds", resources.DefaultSettleSeconds),
		},
		{
			flag: "at-once", path: "spec.atOnce", as: asNumber,
			usage: fmt.Sprintf("most to move at the same time, fewer where others would wait; %d", resources.DefaultSwapsAtOnce),
		},
		{
			flag: "accept-permissions", path: "spec.acceptPermissions", as: asSwitch,
			usage: "let the version do what the one of before could not",
		},
		{flag: "accept-one-way", path: "spec.acceptOneWay", as: asSwitch, usage: "begin though there is no way back"},
	}
}

// swapCommand plans a swap.
func (a *app) swapCommand() *cobra.Command {
	from := field{
		flag: "from", path: "spec.from", as: asVersion, kind: "driver",
		usage: "version that acts now: a driver; the current one of the product if not given",
	}
	create := &cobra.Command{
		Use: "create <driver>", Short: "Plan to have another version of a driver act, and begin it",
		Args: exactly(1, "<driver>"), ValidArgsFunction: a.completeTarget("driver", false),
		Long: "Plan to have another version of a driver act for the resources that one acts for now, and show the plan.\n" +
			"The version must be installed: 'bulkhead driver install'. At a terminal it is asked whether to begin; else\n" +
			"give --start, or begin it with 'bulkhead swap start'.",
	}
	fields := append([]field{from}, swapFields()...)
	a.planning(create, fields)
	create.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := a.versionOf(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.planSwap(cmd, fields, "", to)
	}
	return create
}

// planning adds the flags of commands that plan a swap.
func (a *app) planning(cmd *cobra.Command, fields []field) {
	changing(cmd)
	a.declare(cmd, fields)
	cmd.Flags().StringArray("label", nil, "only resources with this label, key=value")
	cmd.Flags().String("name", "", "name of the swap")
	cmd.Flags().Bool("start", false, "begin it, and do not ask")
}

// upgradeDriverCommand installs a version and swaps to it.
func (a *app) upgradeDriverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "upgrade FILE.car", Short: "Install a version of a driver, and swap to it", Args: exactly(1, "FILE.car"),
		Long: "Install a version of a driver from its archive, and plan to have it act for what the current version\n" +
			"acts for: 'bulkhead driver install' and 'bulkhead swap create' in one.",
	}
	fields := swapFields()
	cmd.Flags().Bool("yes", false, "do not ask whether to install it")
	a.planning(cmd, fields)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		operation, err := a.install(cmd, args[0])
		if err != nil {
			return err
		}
		if operation, err = a.await(cmd, operation); err != nil {
			return err
		}
		if text(operation, "phase") != "succeeded" {
			return a.outcome(cmd.OutOrStdout(), operation)
		}
		id := text(operation, "target.id")
		driver, err := a.acquainted(cmd, id)
		if err != nil {
			return err
		}
		if at(driver, "status.current") == true {
			return a.nothingToSwap(cmd, operation)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "driver %s: installed\n", nameOrID(driver))
		return a.planSwap(cmd, fields, "", id)
	}
	return cmd
}

const (
	// settledIn is how long a version that was installed has to say what it is.
	settledIn = time.Minute
	askAgain  = 300 * time.Millisecond
)

// acquainted waits until a version that was installed has said what it is: a plan made before tells nothing.
func (a *app) acquainted(cmd *cobra.Command, id string) (client.Object, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), settledIn)
	defer cancel()
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		driver, err := a.find(cmd.Context(), "driver", id)
		if err != nil || text(driver, "status.handleWrites") != "" {
			return driver, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cmd.Context().Err() != nil {
				return nil, cmd.Context().Err()
			}
			return nil, &Failure{
				Message: "driver " + nameOrID(driver) + " is installed, and has not said what it is within a minute",
				Remedy: "see 'bulkhead driver show " + nameOrID(driver) + "' for why it does not run; then 'bulkhead swap create " +
					nameOrID(driver) + "'",
				Code: exitUnavailable,
			}
		}
	}
}

func (a *app) nothingToSwap(cmd *cobra.Command, operation client.Object) error {
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, operation)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "driver %s: installed; it is the current version, there is nothing to swap\n",
		clean(targetOf(operation)))
	return err
}

// planSwap plans a swap to a version, shows the plan, and begins it if that is wanted. From is the version that acts
// now; "" = the current one, or the one that a flag names.
func (a *app) planSwap(cmd *cobra.Command, fields []field, from, to string) error {
	body, err := a.swapBody(cmd, fields, from, to)
	if err != nil {
		return err
	}
	operation, err := a.post(cmd, swapKind().path(), body)
	if err != nil {
		return err
	}
	start, _ := cmd.Flags().GetBool("start")
	if noWait, _ := cmd.Flags().GetBool("no-wait"); noWait && !start {
		return a.finish(cmd, operation)
	}
	if operation, err = a.await(cmd, operation); err != nil {
		return err
	}
	if text(operation, "phase") != "succeeded" {
		return a.outcome(cmd.OutOrStdout(), operation)
	}
	swap, err := a.find(cmd.Context(), "swap", text(operation, "target.id"))
	if err != nil {
		return err
	}
	if a.output == formatTable {
		a.printPlan(cmd.OutOrStdout(), swap)
	}
	if start || a.wanted(cmd, swap) {
		return a.startSwap(cmd, swap)
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, operation)
	}
	return nil
}

func (a *app) swapBody(cmd *cobra.Command, fields []field, from, to string) (map[string]any, error) {
	body := map[string]any{}
	put(body, "spec.to", to)
	if from != "" {
		put(body, "spec.from", from)
	}
	if err := a.collect(cmd.Context(), cmd, fields, body); err != nil {
		return nil, err
	}
	labels, err := readLabels(cmd)
	if err != nil {
		return nil, err
	}
	for key, value := range labels {
		if value == nil {
			return nil, usage("--label: must be key=value, not "+key+"-", "")
		}
	}
	if len(labels) > 0 {
		put(body, "spec.scope.labels", labels)
	}
	if name, _ := cmd.Flags().GetString("name"); name != "" {
		body["name"] = name
	}
	return body, nil
}

// wanted asks at a terminal whether to begin a swap that was planned. Where nobody can be asked, or it could not begin,
// it says what to do.
func (a *app) wanted(cmd *cobra.Command, swap client.Object) bool {
	if missing := unaccepted(swap); len(missing) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "It can't begin like this. If that is well, plan it anew with %s.\n",
			strings.Join(missing, " and "))
		return false
	}
	f, ok := cmd.InOrStdin().(*os.File)
	if ok && terminal(f) && a.output == formatTable && agreed(cmd, f, "Begin now? Type yes: ") {
		return true
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Nothing was moved. To begin: bulkhead swap start %s\n", nameOrID(swap))
	return false
}

func (a *app) startSwap(cmd *cobra.Command, swap client.Object) error {
	k := swapKind()
	operation, err := a.post(cmd, k.path()+"/"+url.PathEscape(text(swap, "id"))+"/actions/start", nil)
	if err != nil {
		return err
	}
	if err := a.finish(cmd, operation); err != nil {
		return err
	}
	return a.answer(cmd, k, k.actions[0], text(swap, "id"))
}
