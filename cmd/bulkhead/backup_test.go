package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// canary is the name of something in the zone that is looked for in backups.
const canary = "canary-in-the-backup"

// tool runs a program of the distribution.
func tool(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("there is no %s: install age (scripts/setup.sh does)", name)
	}
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

// identity makes a file with a secret key, and its public key.
func identity(t *testing.T) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "identity")
	tool(t, "age-keygen", "-o", file)
	return file, strings.TrimSpace(string(tool(t, "age-keygen", "-y", file)))
}

// backingUp backs the zone up of whom the command line speaks to, and restores it.
func backingUp(t *testing.T, path, restored string) {
	must := func(args ...string) result {
		t.Helper()
		r := run(t, path, args...)
		if r.code != 0 {
			t.Fatalf("%v: exit %d: %s%s", args, r.code, r.out, r.err)
		}
		return r
	}
	must("cluster", "create", canary)
	must("driver", "update", "sim", "--property", "accessKey=planted-secret")
	secret, public := identity(t)
	_, other := identity(t)
	dir := t.TempDir()
	plain, sealed := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed")
	must("backup", "create", plain)
	must("backup", "create", sealed, "--recipient", other, "--recipient", public)
	open, closed := contents(t, plain), contents(t, sealed)
	if !bytes.Contains(open, []byte(canary)) {
		t.Fatal("a backup in the clear does not hold what is looked for")
	}
	if bytes.Contains(closed, []byte(canary)) || !bytes.HasPrefix(closed, []byte("age-encryption.org/v1\n")) {
		t.Error("the backup is not encrypted")
	}
	opened := tool(t, "age", "--decrypt", "--identity", secret, sealed)
	keys, state, found := bytes.Cut(opened, []byte("\n\n"))
	if !found || !bytes.HasPrefix(state, open[:9]) || !bytes.Contains(state, []byte(canary)) {
		t.Errorf("age reads %d bytes, which are no backup", len(opened))
	}
	if !bytes.HasPrefix(keys, []byte("bulkhead secret keys 1\n")) || bytes.Contains(open, keys) {
		t.Error("the keys of secrets are not in the backup that is encrypted, or also in the other one")
	}
	refusedBackups(t, path, sealed, secret)
	verified(t, must("backup", "verify", plain, "-o", "json"), false)
	verified(t, must("backup", "verify", sealed, "--identity", secret, "-o", "json"), true)
	verified(t, must("backup", "verify", file(t, opened), "-o", "json"), false)
	if r := must("backup", "verify", plain, "--identity", secret); !strings.Contains(r.out, "encrypted: false\n") {
		t.Errorf("of one in the clear it says %s%s", r.out, r.err)
	}
	bare := must("backup", "restore", plain, "--data-dir", filepath.Join(dir, "plainly"), "--identity", secret)
	whole := must("backup", "restore", sealed, "--data-dir", restored, "--identity", secret)
	const lost = "/spec/properties/accessKey"
	if !strings.Contains(bare.out, "  driver sim (drv-") || !strings.Contains(bare.out, lost) {
		t.Errorf("it does not say what can't be opened any more: %s", bare.out)
	}
	if strings.Contains(whole.out, lost) {
		t.Errorf("with the keys it says %s", whole.out)
	}
}

// file has some content.
func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func verified(t *testing.T, r result, sealed bool) {
	t.Helper()
	var said struct {
		Encrypted            bool
		ClusterID, Node      string
		CreatedAt, ChangedAt time.Time
		Revision             uint64
	}
	if err := json.Unmarshal([]byte(r.out), &said); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if said.Encrypted != sealed || said.ClusterID == "" || said.Node != "node-1" || said.Revision == 0 ||
		time.Since(said.CreatedAt).Abs() > time.Hour || said.ChangedAt.After(said.CreatedAt.Add(time.Minute)) {
		t.Errorf("it says %s", r.out)
	}
}

// refusedBackups are those that can't be read, each for a reason that is told. Nothing is made of them.
func refusedBackups(t *testing.T, path, sealed, secret string) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := contents(t, sealed)
	changed := bytes.Clone(good)
	changed[len(changed)-40] ^= 1
	stranger, public := identity(t)
	something := write("something", []byte("root:secret-of-the-file:19000\n"))
	tool(t, "age", "-r", public, "-o", filepath.Join(dir, "else"), something)
	for name, c := range map[string]struct {
		file, want string
		identities []string
	}{
		"no identity":    {sealed, "is encrypted\n", nil},
		"wrong identity": {sealed, "encrypted to others than the identities given", []string{stranger}},
		"cut off":        {write("cut", good[:len(good)-100]), "damaged or cut off", []string{secret}},
		"cut off early":  {write("early", good[:60]), "damaged or cut off", []string{secret}},
		"changed":        {write("changed", changed), "damaged or cut off", []string{secret}},
		"longer":         {write("longer", append(bytes.Clone(good), 'x')), "damaged or cut off", []string{secret}},
		"something else": {filepath.Join(dir, "else"), "what is encrypted in", []string{stranger}},
		"no identities":  {sealed, "--identity " + something, []string{something}},
		"one of them":    {sealed, "--identity: open ", []string{secret, filepath.Join(dir, "nothing")}},
	} {
		var flags []string
		for _, i := range c.identities {
			flags = append(flags, "--identity", i)
		}
		made := filepath.Join(dir, "made")
		there := filepath.Join(t.TempDir(), "there")
		if err := os.Mkdir(there, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{
			{"verify", c.file}, {"restore", c.file, "--data-dir", made}, {"restore", c.file, "--data-dir", there},
		} {
			r := run(t, path, append(append([]string{"backup"}, command...), flags...)...)
			if r.code != 2 || !strings.Contains(r.err, c.want) || !strings.Contains(r.err, "To do: ") ||
				strings.Contains(r.out+r.err, "secret-of-the-file") {
				t.Errorf("%s: %s: exit %d: %s%s", name, command[0], r.code, r.out, r.err)
			}
		}
		if _, err := os.Stat(made); err == nil {
			t.Errorf("%s: a directory was made", name)
		}
		if left, err := os.ReadDir(there); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left in the directory, %v", name, left, err)
		}
	}
}
