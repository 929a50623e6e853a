package script_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// confined starts the driver of an unpacked archive as a server does, as strongly confined as can be.
func confined(t *testing.T, declaration, program string) (s served, root string) {
	t.Helper()
	root, err := os.MkdirTemp("", "script") // drivers have users of their own, who must get there
	if err == nil {
		err = os.Chmod(root, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(root, "code")
	if err := os.Rename(written(t, declaration, program), dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "code")} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "driver.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	parsed, err := archive.Parse([]byte(declaration))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := parsed.Manifest("linux/amd64", dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest.Isolation = sandbox.LevelStrong
	h, err := host.Open(host.Config{StateDir: filepath.Join(root, "host")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	instance, err := h.Start(t.Context(), manifest, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tail, _ := instance.LogTail(4096)
			t.Logf("%s, failures %v, log:\n%s", instance.State(), instance.LastErrors(), tail)
		}
		ending, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Stop(ending, instance.Name()); err != nil {
			t.Error(err)
		}
	})
	if err := instance.Await(soon(t), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	return served{conn: instance.Conn()}, root
}

// TestConfinedScripts do no more than they are permitted, and what they leave behind is found in their own numbers of
// processes as well.
//
// These are not parallel: here the process of the tests is the host, which starts drivers in sessions of their own,
// and what runs scripts in other tests takes those for what scripts left behind.
func TestConfinedScripts(t *testing.T) {
	client := func(text, exec string) (driverpb.StorageClient, string) {
		s, root := confined(t, declared("storage", "open-pool", "permissions: {exec: ["+exec+"]}"), "#!/bin/sh\n"+text)
		return driverpb.NewStorageClient(s.conn), root
	}
	secret, _ := client(`cat /etc/passwd; echo '{"message": "no"}'; exit 1`, "/usr/bin/cat")
	_, err := secret.OpenPool(soon(t), &driverpb.OpenPoolRequest{Call: call(t, "op/1")})
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "refused", "no")
	tools, _ := client(`jq . 2>&1; exit 1`, "/usr/bin/cat")
	_, err = tools.OpenPool(soon(t), &driverpb.OpenPoolRequest{Call: call(t, "op/1")})
	refused(t, err, driverpb.Class_CLASS_INTERNAL, "script-failed", "ermission denied")
	leaving, root := client(`setsid sh -c ': > "$TMPDIR/a"; exec sleep 1000.123' &
setsid sh -c "setsid sh -c ': > $TMPDIR/b; exec sleep 1000.123' & exit 0"
until [ -e "$TMPDIR/a" ] && [ -e "$TMPDIR/b" ]; do :; done; echo '{}'`, "/usr/bin/sleep, /usr/bin/setsid, /bin/sh")
	for n := range 5 {
		if _, err := leaving.OpenPool(soon(t), &driverpb.OpenPoolRequest{Call: call(t, "op/"+strconv.Itoa(n))}); err != nil {
			t.Fatal(err)
		}
	}
	if left := running(t, "1000.123"); len(left) > 0 {
		t.Errorf("%v are left of %s", left, root)
	}
}

// running finds processes by a word of their command lines.
func running(t *testing.T, word string) (found []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), word+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			found = append(found, pid)
		}
	}
	return found
}

// TestConfinedExtension has an extension reach its backend from the sandbox.
func TestConfinedExtension(t *testing.T) {
	text, err := os.ReadFile(*extensionFlag)
	if err != nil {
		t.Fatal(err)
	}
	backend := newPVE(t)
	address, err := url.Parse(backend.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := confined(t, extensionDeclaration+"permissions: {tcpConnect: ["+address.Port()+"], exec: [/usr/bin/env, "+
		"/usr/bin/bash, /usr/bin/jq, /usr/bin/curl, /usr/bin/python3, /usr/bin/date, /usr/bin/sleep]}\n", string(text))
	p := &proxmox{
		served: s, client: driverpb.NewHypervisorClient(s.conn), pve: backend, secret: "a secret that nobody tells",
		host: &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}},
	}
	made, err := p.client.StartMachine(soon(t), p.start(t, "op/1", nil))
	if err != nil {
		t.Fatal(err)
	}
	p.is(t, "running", made.GetHandle(), "clone 9000, start", 1)
	if _, err := p.client.StopMachine(soon(t), p.stop(t, "op/2", made.GetHandle(), 0)); err != nil {
		t.Fatal(err)
	}
	p.is(t, "absent", nil, "stop", 0)
}
