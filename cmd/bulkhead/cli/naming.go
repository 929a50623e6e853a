package cli

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const (
	// mostNamed bounds how many ids of one message are looked up.
	mostNamed = 8
	// namingTime bounds how long that may hold a message back.
	namingTime = 2 * time.Second
)

// idInText finds ids, and what is written right before and after them.
var idInText = regexp.MustCompile(`([a-z-]+/|\S)?\b([a-z]+-[0-9a-hjkmnp-tv-z]{26})\b(\S)?`)

// naming has every command below cmd name what its errors are about: people
// know resources by their names, the zone knows them by their ids.
func (a *app) naming(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		a.naming(c)
	}
	run := cmd.RunE
	if run == nil {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if p, ok := errors.AsType[*client.Problem](err); ok {
			a.name(cmd.Context(), p)
		}
		return err
	}
}

// name writes the names of resources beside their ids into a problem.
func (a *app) name(ctx context.Context, p *client.Problem) {
	if a.client == nil || p.Class == "unauthenticated" || p.Class == "unavailable" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), namingTime)
	defer cancel()
	left := mostNamed
	p.Detail = a.nameAll(ctx, p.Detail, &left)
	for i := range p.Errors {
		p.Errors[i].Message = a.nameAll(ctx, p.Errors[i].Message, &left)
	}
	if p.Resource != nil {
		p.Resource.Called = a.called(ctx, p.Resource.ID)
	}
}

// nameAll writes the names of resources before their ids in a text: "machine db
// (mach-01…)" for "machine/mach-01…" or "machine mach-01…". Ids in paths stay.
func (a *app) nameAll(ctx context.Context, text string, left *int) string {
	return idInText.ReplaceAllStringFunc(text, func(found string) string {
		parts := idInText.FindStringSubmatch(found)
		before, id, after := parts[1], parts[2], parts[3]
		kindOf := string(a.vocabulary.KindOf(id))
		kind, qualified := strings.CutSuffix(before, "/")
		if *left == 0 || qualified && kind != kindOf || before == "(" || after == "/" {
			return found
		}
		*left--
		name := a.called(ctx, id)
		switch {
		case name == "":
			return found
		case qualified:
			before = kind + " "
		}
		return before + name + " (" + id + ")" + after
	})
}

// called is the name of the resource with an id; empty if it has none.
func (a *app) called(ctx context.Context, id string) string {
	k := kindNamed(string(a.vocabulary.KindOf(id)))
	if k.name == "" || k.name == "operation" {
		return ""
	}
	if name := a.nameOf(ctx, k.name, id); name != id {
		return clean(name)
	}
	return ""
}
