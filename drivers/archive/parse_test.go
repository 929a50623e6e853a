package archive_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// minimal is a driver.yaml with what must be in it, and more lines.
func minimal(more ...string) string {
	return `apiVersion: bulkhead.dev/v1
kind: driver
name: example/shelf
version: 1.0.0
description: Volumes on a shelf.
categories: [storage]
license: MIT
author: Example
contract: {min: 1, max: 1}
entry: {any: {command: code/driver}}
handles: {reads: [1], writes: 1}
` + strings.Join(more, "\n")
}

// with is minimal with one line instead of another.
func with(field, line string) string {
	var text strings.Builder
	for old := range strings.Lines(minimal()) {
		if strings.HasPrefix(old, field+":") {
			old = line + "\n"
		}
		text.WriteString(old)
	}
	return text.String()
}

func property(more string) string {
	return minimal("properties:", "  - {key: a, type: string, scope: pool, label: A, description: B, "+more+"}")
}

func TestProblemsNameLinePathAndRemedy(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"nothing":        {"", "driver.yaml: it is empty; "},
		"only a comment": {"# nothing\n", "driver.yaml: it is empty; "},
		"no mapping":     {"[1, 2]", "driver.yaml:1: it is a list, not a mapping; want what a driver is"},
		"no YAML":        {"a: b: c", "driver.yaml: mapping values are not allowed"},
		"not UTF-8":      {"a: \xff", "it is not UTF-8"},
		"too large":      {strings.Repeat("# comment\n", 30000), "more than 262144"},
		"two documents":  {minimal("---", "a: b"), "driver.yaml:12: a second document begins here"},
		"anchor": {
			with("author", "author: &a Example"),
			"driver.yaml:8: author: anchors and aliases",
		},
		"bomb": {
			minimal("a: &a [x, x]", "b: [*a, *a]"),
			"driver.yaml:13: b[0]: anchors and aliases",
		},
		"merge": {minimal("<<: {a: b}"), `the key "<<" is not plain text`},
		"tag": {
			with("version", "version: !!str 1.0.0"),
			"version: tags such as !!str are not taken",
		},
		"own tag": {with("author", "author: !exec rm"), "author: tags such as !exec are not taken"},
		"twice": {
			minimal("author: Other"),
			"driver.yaml:12: author: it is there twice, first on line 8",
		},
		"key that is a list": {minimal("? [a]", ": b"), "is not plain text"},
		"key that is true":   {minimal("true: b"), `the key "true" is not plain text; put it in quotes`},
		"empty value": {
			with("author", "author:"),
			"driver.yaml:8: author: it has no value; give one, or leave",
		},
		"invisible": {
			with("author", "author: \"a\\u202eb\""),
			"driver.yaml:8: author: it holds the invisible character U+202E",
		},
		"control character": {with("author", "author: \"a\\u001bb\""), "the invisible character U+001B"},
		"deep": {
			minimal("properties: " + strings.Repeat("[", 20) + strings.Repeat("]", 20)),
			"nested too deeply",
		},
		"not finite": {
			property("default: .nan"), "driver.yaml:13: properties[0].default: it is not a finite number",
		},
		"missing": {
			with("license", "#"), "driver.yaml:1: license: it is missing; want an SPDX licence expression such as Apache-2.0",
		},
		"unknown": {
			minimal("colour: red"),
			"driver.yaml:12: colour: there is no such field; the fields are actions, apiVersion, author",
		},
		"nearly": {
			minimal("homePage: x"),
			"driver.yaml:12: homePage: there is no such field; did you mean homepage?",
		},
		"nearly, below": {
			minimal("limits: {open_files: 3}"),
			"limits.open_files: there is no such field; did you mean openFiles?",
		},
		"other API": {
			with("apiVersion", "apiVersion: bulkhead.dev/v2"),
			"apiVersion: bulkhead.dev/v2 is not one of",
		},
		"other kind": {with("kind", "kind: theme"), "driver.yaml:2: kind: theme is not one of"},
		"name": {
			with("name", "name: Example/Shelf"),
			`name: "Example/Shelf" is not written as it should be; want the driver: vendor/name`,
		},
		"version is number": {
			with("version", "version: 1.0"),
			"driver.yaml:4: version: it is a number, not a text; want a semantic version",
		},
		"version": {with("version", "version: v1.0.0"), "driver.yaml:4: version:"},
		"version, leading": {
			with("version", "version: 1.0.0-01"),
			"driver.yaml:4: version: it is not a semantic version",
		},
		"category": {
			with("categories", "categories: [disk]"),
			"categories[0]: disk is not one of the values it may have; want network",
		},
		"category twice": {
			with("categories", "categories: [storage, storage]"),
			"categories: entries 0 and 1 are the same",
		},
		"no category": {with("categories", "categories: []"), "categories: it is empty"},
		"licence": {
			with("license", "license: Apache2"),
			`license: "Apache2" is no licence that SPDX lists`,
		},
		"licence half": {with("license", "license: MIT OR"), "license: a licence is missing at the end"},
		"exception": {
			with("license", "license: GPL-2.0-only WITH MIT"),
			`"MIT" is no exception that SPDX lists`,
		},
		"parenthesis":  {with("license", "license: (MIT AND 0BSD"), "a ) is missing"},
		"two licences": {with("license", "license: MIT 0BSD"), `"0BSD" does not belong there`},
		"contract":     {with("contract", "contract: {min: 2, max: 1}"), "contract.min: it is above max"},
		"contract zero": {
			with("contract", "contract: {min: 0, max: 1}"),
			"contract.min: the number is too small",
		},
		"no platform": {with("entry", "entry: {}"), "entry: it is empty"},
		"platform": {
			with("entry", "entry: {windows/amd64: {command: x}}"),
			"entry.windows/amd64: there is no such field; the fields are any",
		},
		"command": {
			with("entry", "entry: {any: {command: ../../bin/sh}}"),
			"driver.yaml:10: entry.any.command:",
		},
		"command absolute": {with("entry", "entry: {any: {command: /bin/sh}}"), "entry.any.command:"},
		"interpreter": {
			with("entry", "entry: {any: {command: x, interpreter: [python3]}}"),
			"entry.any.interpreter[0]: it is not an absolute path",
		},
		"server": {
			minimal("requires: {server: newest}"),
			`requires.server: "newest" is not a range of versions; want one`,
		},
		"needs itself": {
			minimal("requires: {drivers: [{name: example/shelf, version: '1'}]}"),
			"requires.drivers[0].name: example/shelf is this",
		},
		"needs what range": {
			minimal("requires: {drivers: [{name: example/a, version: '>>1'}]}"),
			"requires.drivers[0].version:",
		},
		"relative path":     {minimal("permissions: {read: [etc]}"), "permissions.read[0]:"},
		"path with dots":    {minimal("permissions: {read: [/a/../b]}"), "permissions.read[0]:"},
		"path with slashes": {minimal("permissions: {read: [/a//b]}"), "permissions.read[0]:"},
		"system path": {
			minimal("permissions: {write: [/etc/x]}"),
			"permissions.write[0]: no driver may write to /etc/x",
		},
		"whole system": {
			minimal("permissions: {write: [/]}"),
			"permissions.write[0]: no driver may write to /",
		},
		"device": {minimal("permissions: {devices: [/tmp/kvm]}"), "permissions.devices[0]:"},
		"port": {
			minimal("permissions: {tcpConnect: [70000]}"),
			"permissions.tcpConnect[0]: the number is too large",
		},
		"port in words": {
			minimal("permissions: {tcpConnect: [https]}"),
			"permissions.tcpConnect[0]: it is a text, not a whole number",
		},
		"capability": {
			minimal("permissions: {capabilities: [all]}"),
			"permissions.capabilities[0]: all is not one of",
		},
		"launch":    {minimal("permissions: {launch: [{path: ../x}]}"), "permissions.launch[0].path:"},
		"isolation": {minimal("isolation: {minimum: total}"), "isolation.minimum: total is not one of"},
		"mechanism": {
			minimal("isolation: {require: [jail]}"),
			"isolation.require[0]: jail is not one of",
		},
		"memory": {
			minimal("limits: {memory: 32MiB}"),
			"limits.memory: it is too little; want at least 64MiB",
		},
		"memory unit": {
			minimal("limits: {memory: 1G}"),
			`limits.memory: "1G" is not written as it should be; want the memory`,
		},
		"handles": {
			with("handles", "handles: {reads: [1], writes: 2}"),
			"handles.writes: it is not among those it reads",
		},
		"timeout zero":  {minimal("timeouts: {start: 0s}"), "timeouts.start: it is out of range"},
		"timeout a day": {minimal("timeouts: {call: 25h}"), "timeouts.call: it is out of range"},
		"timeout no unit": {
			minimal("timeouts: {call: 30}"),
			"timeouts.call: it is a number, not a text; want a call",
		},
		"capability type": {
			minimal("capabilities: {grow: 1}"),
			"capabilities.grow: it is a number, not true or false",
		},
		"capability name": {
			minimal("capabilities: {hotPlugDisk: true}"),
			"capabilities.hotPlugDisk: there is no such field; did you mean hot_plug_disk?",
		},
		"scope": {
			minimal("capabilities: {pool_scope: planet}"),
			"capabilities.pool_scope: planet is not one of",
		},
		"property type": {property("type: text"), "properties[0].type: it is there twice"},
		"property key": {
			minimal("properties: [{key: A b, type: string, scope: pool, label: x, description: y}]"),
			"properties[0].key:",
		},
		"property twice": {
			minimal("properties:", "  - {key: a, type: string, scope: pool, label: A, description: C}",
				"  - {key: a, type: string, scope: pool, label: B, description: C}"),
			"driver.yaml:14: properties[1].key: is described twice in scope pool",
		},
		"no label": {
			minimal("properties: [{key: a, type: string, scope: pool}]"),
			"properties[0].label: it is missing; want its name in English",
		},
		"default type": {
			property("default: 1"),
			"properties[0].default: must be text",
		},
		"default length": {
			property("default: abc, maxLength: 2"),
			"properties[0].default: is longer than 2 bytes",
		},
		"default pattern": {
			property("default: abc, pattern: ab"),
			"properties[0].default: does not match the pattern",
		},
		"pattern": {
			property("pattern: 'a)|(b'"),
			"properties[0].pattern: must be a regular expression",
		},
		"default not in": {
			property("default: c, enum: [a, b]"),
			"properties[0].default: must be one of the values allowed",
		},
		"enum type":     {property("enum: [1]"), "properties[0].enum[0]: must be text"},
		"enum twice":    {property("enum: [a, a]"), "properties[0].enum: entries 0 and 1 are the same"},
		"min of a text": {property("min: 1"), "properties[0].type: must be number"},
		"secret default": {
			property("secret: true, default: x"),
			"properties[0].secret: a secret can have neither a default",
		},
		"secret path": {
			property("secret: true, pathAccess: read"),
			"properties[0].secret: a path can't be secret",
		},
		"default null": {property("default: null"), "properties[0].default: it has no value"},
		"number": {
			minimal("properties:", "  - {key: a, type: number, scope: pool, label: x, description: y,",
				"     min: 3, max: 1, maxLength: 3, pattern: x}"),
			"properties[0].min: must not be above max",
		},
		"operation": {
			minimal("properties: [{key: a, type: string, scope: volume/fly, label: x, description: y}]"),
			"properties[0].scope: names no operation: there is no action fly of a volume",
		},
		"date": {
			minimal("properties: [{key: a, type: date, scope: pool, label: x, description: y, default: 2027-02-30}]"),
			"properties[0].default: must be a date",
		},
		"boolean": {
			minimal("properties: [{key: a, type: boolean, scope: pool, label: x, description: y, default: 'yes'}]"),
			"properties[0].default: must be true or false",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := archive.Parse([]byte(test.text))
			var invalid *archive.InvalidError
			if !errors.As(err, &invalid) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	text := with("name", "name: Shelf") + "colour: red\nlimits: {memory: lots}\npermissions: {read: [a, /b, c]}\n"
	_, err := archive.Parse([]byte(text))
	var invalid *archive.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, problem := range invalid.Problems {
		got = append(got, fmt.Sprintf("%d %s", problem.Line, problem.Path))
		if problem.Remedy == "" {
			t.Errorf("no remedy: %v", problem)
		}
	}
	const want = "3 name, 12 colour, 13 limits.memory, 14 permissions.read[0], 14 permissions.read[2]"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
}

func TestMinimalAndFullAreFine(t *testing.T) {
	for _, text := range []string{minimal(), string(full(t))} {
		declaration, err := archive.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		again, err := declaration.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		second, err := archive.Parse(again)
		if err != nil {
			t.Fatalf("what it writes it does not read: %v\n%s", err, again)
		}
		if a, b := fmt.Sprintf("%+v", declaration), fmt.Sprintf("%+v", second); a != b && len(declaration.Properties) == 0 {
			t.Errorf("wrote\n%s\nread\n%s", a, b)
		}
	}
}

func TestLicences(t *testing.T) {
	for _, license := range []string{
		"MIT", "Apache-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0", "(MIT OR Apache-2.0) AND 0BSD",
		"LicenseRef-Example-1", "DocumentRef-x:LicenseRef-y", "LGPL-2.1-only AND (MIT)", "Zlib+",
	} {
		if _, err := archive.Parse([]byte(with("license", "license: "+license))); err != nil {
			t.Errorf("%s: %v", license, err)
		}
	}
}

// What a driver asks of who uses it is said to servers as it stands in driver.yaml.
func TestRolesAreDescribed(t *testing.T) {
	d, err := archive.Parse([]byte(property("role: admin") + "\nactions:\n  - {action: volume/revert, role: operator}"))
	if err != nil {
		t.Fatal(err)
	}
	described, err := d.Describe()
	if err != nil || described.GetProperties()[0].GetRole() != "admin" ||
		fmt.Sprint(described.GetActions()[0].GetAction(), described.GetActions()[0].GetRole()) != "volume/revertoperator" {
		t.Errorf("described is %v, %v", described, err)
	}
	for text, want := range map[string]string{
		property("role: reader"):                                       "properties[0].role",
		minimal("actions: [{action: volume/explode, role: admin}]"):    "actions[0].action",
		minimal("actions: [{action: volume/revert, role: everybody}]"): "actions[0].role",
	} {
		if _, err := archive.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}
