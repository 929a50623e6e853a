package cli

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const (
	// patience is how long a shell waits for live completions.
	patience = 2 * time.Second
	// mostCompletions bounds what is offered.
	mostCompletions = 200
)

type completion = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// completeFlag offers the choices of a flag, or the names there are.
func (a *app) completeFlag(cmd *cobra.Command, f field) {
	var with completion
	switch {
	case len(f.choices) > 0:
		with = cobra.FixedCompletions(f.choices, cobra.ShellCompDirectiveNoFileComp)
	case f.kind != "":
		with = func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return a.completeNames(cmd, f.kind, begun)
		}
	case f.as == asContent || f.flag == "file":
		return // files of this machine
	default:
		with = cobra.NoFileCompletions
	}
	offer(cmd, f.flag, with)
}

// offer completes a flag. It can fail only for a flag that is not there, or that
// has a completion already.
func offer(cmd *cobra.Command, flag string, with completion) {
	_ = cmd.RegisterFlagCompletionFunc(flag, with)
}

// completeTarget offers the names of a kind for the arguments of a command.
func (a *app) completeTarget(kindName string, many bool) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeNames(cmd, kindName, begun)
	}
}

// completeNames offers the names, or ids where there is no name, of a kind.
func (a *app) completeNames(cmd *cobra.Command, kindName, begun string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	c, err := a.connect()
	if err != nil {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	var names []string
	err = c.List(ctx, kindNamed(kindName).path(), url.Values{"pageSize": {"1000"}}, func(o client.Object) bool {
		name := text(o, "name")
		if name == "" {
			name = text(o, "id")
		}
		if strings.HasPrefix(name, begun) {
			names = append(names, name+"\t"+clean(text(o, "phase")))
		}
		return len(names) < mostCompletions
	})
	if err != nil {
		return nil, directive // a shell has nowhere to show it
	}
	return names, directive
}

func (a *app) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := loadConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
