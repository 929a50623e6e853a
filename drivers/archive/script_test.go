package archive_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

func TestScriptsAreRunByThisProgram(t *testing.T) {
	declaration, err := archive.Parse([]byte(strings.Replace(minimal(
		"script: {protocol: json, actions: [open-pool, adopt], exits: [{code: 9, class: denied}]}",
		"permissions: {exec: [/usr/bin/jq], read: [/etc/example]}",
	), "{command: code/driver}", "{interpreter: [/usr/bin/python3, -I], command: code/driver}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := declaration.Manifest("linux/amd64", "/store/abc")
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{executable, "driver-process", "script", "/store/abc"}; !slices.Equal(manifest.Command, want) {
		t.Errorf("it is started as %v, want %v", manifest.Command, want)
	}
	if got := manifest.Permissions.Exec; !slices.Equal(got, []string{"/usr/bin/jq", "/usr/bin/python3"}) {
		t.Errorf("it may execute %v", got)
	}
	if got := manifest.Permissions.Read; !slices.Equal(got, []string{"/etc/example", "/proc/loadavg"}) {
		t.Errorf("it may read %v", got)
	}
}

func TestProblemsOfScripts(t *testing.T) {
	const cloudstack = "script: {protocol: cloudstack, actions: [create, start, stop, status, delete]"
	hypervisor := func(lines ...string) string {
		return strings.Replace(minimal(lines...), "[storage]", "[hypervisor]", 1)
	}
	for name, test := range map[string]struct{ text, want string }{
		"no protocol": {minimal("script: {actions: [probe]}"), "driver.yaml:12: script.protocol: it is missing; want what"},
		"no actions":  {minimal("script: {protocol: json}"), "script.actions: it is missing; want the actions it serves"},
		"none":        {minimal("script: {protocol: json, actions: []}"), "script.actions: it is empty"},
		"unknown protocol": {
			minimal("script: {protocol: xml, actions: [probe]}"),
			"script.protocol: xml is not one of the values it may have; want what it speaks: json, or cloudstack",
		},
		"of another category": {
			minimal("script: {protocol: json, actions: [probe, start-machine]}"),
			`script.actions[1]: "start-machine" must be an action of its categories; the actions are configure, probe`,
		},
		"twice": {minimal("script: {protocol: json, actions: [probe, probe]}"), "entries 0 and 1 are the same"},
		"an exit for done": {
			minimal("script: {protocol: json, actions: [probe], exits: [{code: 0, class: denied}]}"),
			"script.exits[0].code: the number is too small; want an exit code, 1 to 125",
		},
		"an exit twice": {
			minimal("script: {protocol: json, actions: [probe], exits: [{code: 9, class: denied}, {code: 9, class: invalid}]}"),
			"script.exits[1].code: this code is there twice",
		},
		"an exit of no class": {
			minimal("script: {protocol: json, actions: [probe], exits: [{code: 9, class: bad}]}"),
			"script.exits[0].class: bad is not one of the values it may have; want invalid, not-found",
		},
		"a capability without its action": {
			minimal("script: {protocol: json, actions: [create-snapshot, delete-snapshot]}", "capabilities: {snapshots: true}"),
			"script.actions: the action revert-snapshot must be among them: the capability snapshots is declared",
		},
		"a capability of what lives on": {
			hypervisor("script: {protocol: json, actions: [open-console]}", "capabilities: {consoles: [vnc]}"),
			"capabilities.consoles: a script can't do this",
		},
		"arguments": {
			strings.Replace(minimal("script: {protocol: json, actions: [probe]}"),
				"code/driver}", "code/driver, arguments: [a]}", 1),
			"driver.yaml:10: entry.any.arguments: a script is started with the action as its first argument",
		},
		"little memory": {
			minimal("limits: {memory: 64MiB}", "script: {protocol: json, actions: [probe]}"),
			"limits.memory: it is too little for a script",
		},
		"an extension of two categories": {
			strings.Replace(minimal(cloudstack+"}"), "[storage]", "[hypervisor, network]", 1),
			"driver.yaml:6: categories: an extension of CloudStack must be a hypervisor and nothing else",
		},
		"an extension with exits": {
			hypervisor(cloudstack + ", exits: [{code: 9, class: denied}]}"),
			"script.exits: an extension of CloudStack must not have others",
		},
		"an extension without status": {
			hypervisor("script: {protocol: cloudstack, actions: [create, start, stop]}"),
			"script.actions: the action status must be among them",
		},
		"an extension with other actions": {
			hypervisor("script: {protocol: cloudstack, actions: [create, start, stop, status, start-machine]}"),
			`script.actions[4]: "start-machine" must be an action of its categories; the actions are prepare, create`,
		},
		"an extension that can more": {
			hypervisor(cloudstack+"}", "capabilities: {live_migration: true}"),
			"capabilities.live_migration: an extension of CloudStack can't do this",
		},
	} {
		_, err := archive.Parse([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v\nwant %s", name, err, test.want)
		}
	}
	if _, err := archive.Parse([]byte(hypervisor(cloudstack + "}"))); err != nil {
		t.Errorf("a proper extension: %v", err)
	}
}

func TestActionsAreTheCallsOfTheContract(t *testing.T) {
	got := strings.Join(archive.Actions([]string{"storage", "out-of-band"}), " ")
	want := "configure probe adopt release observe open-pool close-pool stat-pool create-volume stat-volume grow-volume " +
		"delete-volume attach-volume detach-volume create-snapshot revert-snapshot delete-snapshot stat-power power-off " +
		"power-on cycle-power shut-down-host"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
