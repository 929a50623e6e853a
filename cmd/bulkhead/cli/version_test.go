package cli_test

import (
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
)

func TestVersionSaysWhatItWasBuiltFrom(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "396e2b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a"}
	at := debug.BuildSetting{Key: "vcs.time", Value: "2026-11-20T10:00:00Z"}
	for name, c := range map[string]struct {
		info   *debug.BuildInfo
		want   string
		fields string // as Go prints them
	}{
		"nothing is known": {nil, "bulkhead version 1.2.3", "map[version:1.2.3]"},
		"no repository": {
			&debug.BuildInfo{GoVersion: "go1.26.8"}, "bulkhead version 1.2.3", "map[go:go1.26.8 version:1.2.3]",
		},
		"a commit": {
			&debug.BuildInfo{
				GoVersion: "go1.26.8", Settings: []debug.BuildSetting{revision, at, {Key: "vcs.modified", Value: "false"}},
			},
			"bulkhead version 1.2.3\nbuilt from 396e2b9c1d2e of 2026-11-20T10:00:00Z with go1.26.8",
			"map[changed:false committedAt:2026-11-20T10:00:00Z go:go1.26.8 " +
				"revision:396e2b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a version:1.2.3]",
		},
		"a commit that was changed": {
			&debug.BuildInfo{Settings: []debug.BuildSetting{revision, {Key: "vcs.modified", Value: "true"}}},
			"bulkhead version 1.2.3\nbuilt from 396e2b9c1d2e and changes",
			"map[changed:true revision:396e2b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a version:1.2.3]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			words, fields := cli.BuildWords("1.2.3", c.info)
			if words != c.want || fmt.Sprint(fields) != c.fields {
				t.Errorf("got %q and %v, want %q and %s", words, fields, c.want, c.fields)
			}
		})
	}
	s := newSite(t, false)
	if r := s.run("version", "-o", "json"); r.code != 0 || !strings.Contains(r.out, `"version": "test"`) {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}
