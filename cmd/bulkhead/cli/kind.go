package cli

import (
	"slices"
	"strings"
)

// shape says how a flag is read and written into a body.
type shape int

const (
	asText       shape = iota
	asSize             // 10GiB -> bytes
	asNumber           // a whole number
	asDecimal          // a number
	asSwitch           // true or false
	asList             // texts, repeated or separated by commas
	asReference        // name or id of another resource -> id
	asReferences       // several of them
	asContent          // name of a local file -> what is in it; - is standard input
	asProperties       // key=value, repeated; key=@file for what is in a file
	asNics             // network[,address=ADDRESS], repeated
	asTime             // a time, or how long from now: 24h
	asWords            // text that may be long
	asDriver           // product or name of a driver -> product
	asAddress          // an IP, or name or id of a reserved address
	asVersion          // name or id of a version of a driver -> id
	asRef              // kind/name, or an id -> kind and id
	asRefs             // several of them
	asSeconds          // how long -> seconds
)

// field is one thing that can be given with a flag.
type field struct {
	flag string
	// path into the body, or name of the query parameter of a filter.
	path    string
	as      shape
	kind    string // of what is referred to
	choices []string
	usage   string
	// clears is set where giving nothing, '', takes the setting away.
	clears bool
}

// clearing is fields as they are on an update.
func clearing(fields []field) []field {
	all := slices.Clone(fields)
	for i := range all {
		all[i].clears = true
	}
	return all
}

// driverFilter selects what is bound to a driver.
func driverFilter(usage string) field {
	return field{flag: "driver", path: "driver", as: asDriver, kind: "driver", usage: usage}
}

// column is one column of a list.
type column struct {
	head string
	path string
	// or is shown where there is nothing at path.
	or   string
	none string // shown where there is nothing at either
	as   shape  // asText, asWords, asSize, asReference or asTime
	kind string // of what is referred to
}

// action is one thing that can be done to a resource beside the usual.
type action struct {
	name   string
	short  string
	fields []field
	// required are the flags that must be given.
	required []string
	// answer is where the resource has what was asked for, and what that is; "" = that it is done is all there is to say.
	answer, about string
}

// kind describes the commands of one kind of resource.
type kind struct {
	name   string // as in the API
	plural string // in paths
	short  string
	// newestFirst is set for lists that grow for ever.
	newestFirst bool
	// columns between NAME and PHASE.
	columns []column
	filters []field
	// create lists what can be given on creation; nil = can't be created.
	create   []field
	required []string
	// planned is set when a creation can be planned.
	planned bool
	// named is set when a name must be given on creation.
	named bool
	// update lists what can be changed beside name and labels.
	update      []field
	suspendable bool
	deletable   bool
	// stored is set for what is in storage, which may be lost.
	stored  bool
	actions []action
}

// words is the name of a kind as people write it.
func words(kindName string) string { return strings.ReplaceAll(kindName, "-", " ") }

// one is one of a kind, with its article.
func (k kind) one() string {
	if strings.ContainsRune("aeiou", rune(k.name[0])) {
		return "an " + words(k.name)
	}
	return "a " + words(k.name)
}

func (k kind) path() string { return "/v1/" + k.plural }

func properties() field {
	return field{
		flag:  "property",
		path:  "spec.properties",
		as:    asProperties,
		usage: "setting of the driver, key=value; key=@file reads a file, @- standard input",
	}
}

// asked are settings for one operation alone.
func asked() field {
	return field{
		flag:  "set",
		path:  "properties",
		as:    asProperties,
		usage: "setting of the driver for this operation alone, key=value; key=@file reads a file, @- standard input",
	}
}

func reference(flag, path, kind, usage string) field {
	return field{flag: flag, path: path, as: asReference, kind: kind, usage: usage}
}

func driverField() field {
	return field{flag: "driver", path: "spec.driver", as: asDriver, kind: "driver", usage: "driver: its product or name"}
}

func nodeField() field {
	return field{flag: "node", path: "spec.node", usage: "node that drives it; the one that is asked if not given"}
}

func nameColumn(head, path, kind string) column {
	return column{head: head, path: path, as: asReference, kind: kind}
}

func sizeColumn(head, path string) column { return column{head: head, path: path, as: asSize} }
func textColumn(head, path string) column { return column{head: head, path: path} }

// kinds returns all, in the order in which they stand on each other.
func kinds() []kind {
	all := []kind{clusterKind(), hostKind(), poolKind(), imageStoreKind(), templateKind()}
	all = append(all, networkKind(), addressKind(), ruleKind(), nicKind())
	all = append(all, volumeKind(), snapshotKind(), machineKind())
	return append(all, policyKind(), driverKind(), swapKind(), tokenKind(), operationKind())
}

// kindNamed finds a kind.
func kindNamed(name string) kind {
	for _, k := range kinds() {
		if k.name == name {
			return k
		}
	}
	return kind{}
}
