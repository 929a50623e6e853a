package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// printPlan says what a swap comes to.
func (a *app) printPlan(w io.Writer, swap client.Object) {
	from, to := clean(text(swap, "status.fromVersion")), clean(text(swap, "status.toVersion"))
	fmt.Fprintf(w, "Swap %s: %s, from version %s to %s\n", nameOrID(swap), clean(text(swap, "status.product")), from, to)
	line := func(what, format string, values ...any) {
		fmt.Fprintf(w, "  %-12s%s\n", what, clean(fmt.Sprintf(format, values...)))
	}
	line("moves", "%s", counted(swap))
	if n := text(swap, "status.plan.busy"); n != "0" {
		line("", "%s of them are being worked on: they are moved when that has ended", n)
	}
	if n := text(swap, "status.plan.suspended"); n != "0" {
		line("suspended", "%s, which stay with version %s", n, from)
	}
	line("first", "%s, observed for %ss before the rest follows", canaries(swap),
		orElse(text(swap, "spec.observeSeconds"), fmt.Sprint(resources.DefaultObserveSeconds)))
	line("then", "the rest, up to %s at the same time; all are observed for %ss before it is for good",
		orElse(text(swap, "spec.atOnce"), fmt.Sprint(resources.DefaultSwapsAtOnce)),
		orElse(text(swap, "spec.settleSeconds"), fmt.Sprint(resources.DefaultSettleSeconds)))
	differences(line, swap)
	if at(swap, "status.plan.oneWay") == true {
		line("way back", "none: version %s can't read what version %s remembers", from, to)
		return
	}
	line("way back", "by itself until the step %s, if it does worse or is cancelled; then: bulkhead swap roll-back %s",
		text(swap, "status.plan.noReturn"), nameOrID(swap))
}

// differences says what the new version may do, and wants to be told, that the one of before did not, and the other way
// round.
func differences(line func(what, format string, values ...any), swap client.Object) {
	for _, part := range []struct{ head, path, mark, about string }{
		{"may", "permissionsAdded", "+ ", ""},
		{"may", "permissionsRemoved", "- ", ""},
		{"settings", "propertiesInWords", "", ""},
		{"settings", "settingsChanged", "~ driver ", " has another value"},
	} {
		all, _ := at(swap, "status.plan."+part.path).([]any)
		for _, one := range all {
			line(part.head, "%s%s%s", part.mark, show(one), part.about)
		}
	}
	all, _ := at(swap, "status.plan.propertiesMissing").([]any)
	for _, one := range all {
		line("settings", "! %s", toBeGiven(show(one)))
	}
}

// toBeGiven says what to do about a setting that is missing: a key of the version, or "pool/quota of ID".
func toBeGiven(missing string) string {
	what, id, ofResource := strings.Cut(missing, " of ")
	kind, key, scoped := strings.Cut(what, "/")
	switch {
	case ofResource && scoped:
		return fmt.Sprintf("%s %s must be given first: bulkhead %s update %s --property %s=...", kind, key, kind, id, key)
	case strings.Contains(missing, " "): // how many more there are
		return missing
	}
	return fmt.Sprintf("driver %s must be given first: bulkhead driver update NAME --property %s=...", missing, missing)
}

// counted are the resources of a plan by kind: "2 volumes, 1 pool".
func counted(swap client.Object) string {
	var parts []string
	for _, k := range kinds() {
		switch n := text(swap, "status.plan.resources."+k.name); n {
		case "", "0":
		case "1":
			parts = append(parts, "1 "+words(k.name))
		default:
			parts = append(parts, n+" "+words(k.plural))
		}
	}
	if len(parts) == 0 {
		return "nothing: it acts for nothing in this scope"
	}
	return strings.Join(parts, ", ")
}

// canaries says which resources are moved first.
func canaries(swap client.Object) string {
	named, _ := at(swap, "spec.canaries").([]any)
	if n := len(named); n > 0 {
		return fmt.Sprintf("the %d named", n)
	}
	if n := orElse(text(swap, "spec.canaryCount"), "1"); n != "1" {
		return n + " resources"
	}
	return "1 resource"
}

// unaccepted are the flags without which a swap can't begin.
func unaccepted(swap client.Object) (flags []string) {
	added, _ := at(swap, "status.plan.permissionsAdded").([]any)
	if len(added) > 0 && at(swap, "spec.acceptPermissions") != true {
		flags = append(flags, "--accept-permissions")
	}
	if at(swap, "status.plan.oneWay") == true && at(swap, "spec.acceptOneWay") != true {
		flags = append(flags, "--accept-one-way")
	}
	return flags
}
