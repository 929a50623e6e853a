package archive_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

func lint(t *testing.T, files map[string]string) string {
	t.Helper()
	packing, err := archive.Pack(t.Context(), tree(t, files), &bytes.Buffer{}, archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, problem := range packing.Lint() {
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

func TestLintSaysWhatCouldBeBetter(t *testing.T) {
	got := lint(t, content(t))
	for _, want := range []string{
		"permissions.unixSockets: it can connect to any unix socket",
		"permissions.hostNetwork: ports alone",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	files := content(t)
	files["resources/messages/de.json"] = `{"odd": "x"}`
	if got := lint(t, files); !strings.Contains(got, "resources/messages/de.json: odd: translates what en.json does not") {
		t.Errorf("got %s", got)
	}
	files["driver.yaml"] = minimal("permissions: {capabilities: [sys_admin], read: [/etc]}",
		"properties: [{key: a, type: string, scope: pool, label: A, description: B, labelKey: a.label}]")
	delete(files, "resources/messages/de.json")
	got = lint(t, files)
	for _, want := range []string{
		"resources/messages/en.json: a.label: is missing, and property a of scope pool asks for it",
		"permissions.capabilities: sys_admin costs the file rules",
		"permissions.read[0]: it could read all of /etc",
		"isolation.minimum: it would run unconfined",
		"requires.server: it claims to run under every version",
		"homepage: there is no place to ask",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestLintMissesMessages(t *testing.T) {
	files := content(t)
	delete(files, "resources/messages/de.json")
	delete(files, "resources/messages/en.json")
	if got := lint(t, files); !strings.Contains(got, "resources/messages/en.json: address.label: is missing") {
		t.Errorf("got %s", got)
	}
}

func TestLintHasNothingToSay(t *testing.T) {
	files := map[string]string{
		"driver.yaml": minimal("homepage: https://example.com", "changelog: CHANGELOG.md", `requires: {server: ">=0.1 <2"}`,
			"isolation: {minimum: strong}"),
		"LICENSE": "MIT", "CHANGELOG.md": "# 1.0.0", "code/driver!": "#!/bin/true\n",
	}
	if got := lint(t, files); got != "" {
		t.Errorf("got %s", got)
	}
}
