package directoryimages_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func TestRelativeAllowPath(t *testing.T) {
	t.Parallel()
	s := &site{t: t, driver: newDriver(t), path: t.TempDir(), allow: "/nowhere:relative"}
	_, err := s.open()
	if fault := expectFault(t, err, invalid, "path-invalid"); fault.GetField() != "/properties/allowPaths" {
		t.Errorf("the fault names %q", fault.GetField())
	}
}

func TestStoreClosesWhenItIsEmpty(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	s.mustBring(s.fromFile("tmpl-1", "raw", s.put("image", disk(mebibyte))))
	closing := &driverpb.StoreRequest{Call: s.call("image-store", storeID)}
	closing.Call.Handle = s.store.GetHandle()
	_, err := s.driver.Images.CloseStore(t.Context(), closing)
	expectFault(t, err, conflict, "not-empty")
	for range 2 {
		if _, err := s.driver.Images.DeleteTemplate(t.Context(), s.template("tmpl-1")); err != nil {
			t.Errorf("deleting: %v", err)
		}
	}
	_, err = s.driver.Images.StatTemplate(t.Context(), s.template("tmpl-1"))
	expectFault(t, err, notFound, "template-missing")
	for range 2 {
		if _, err := s.driver.Images.CloseStore(t.Context(), closing); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if left, _ := os.ReadDir(s.path); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnmountedStore(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	s.mustBring(s.fromFile("tmpl-1", "raw", s.put("image", disk(mebibyte))))
	uncover := diskdirtest.Cover(t, s.path)
	closing := &driverpb.StoreRequest{Call: s.call("image-store", storeID)}
	closing.Call.Handle = s.store.GetHandle()
	for name, call := range map[string]func() error{
		"open":   func() error { _, err := s.driver.Images.OpenStore(t.Context(), closing); return err },
		"close":  func() error { _, err := s.driver.Images.CloseStore(t.Context(), closing); return err },
		"stat":   func() error { _, err := s.driver.Images.StatStore(t.Context(), closing); return err },
		"delete": func() error { _, err := s.driver.Images.DeleteTemplate(t.Context(), s.template("tmpl-1")); return err },
		"import": func() error { _, err := s.bring(s.fromFile("tmpl-1", "raw", "/nowhere")); return err },
	} {
		if fault := expectFault(t, call(), transient, "not-mounted"); fault == nil {
			t.Errorf("%s went through", name)
		}
	}
	probe, err := s.driver.Resources.Probe(t.Context(), s.call("image-store", storeID))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_UNREADY || probe.GetReason() == "" {
		t.Errorf("probe = %v, %v", probe, err)
	}
	uncover()
	probe, err = s.driver.Resources.Probe(t.Context(), s.call("template", "tmpl-1"))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Errorf("probe = %v, %v", probe, err)
	}
}

func TestRebuiltFromDisk(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	content := disk(mebibyte)
	made := s.mustBring(s.fromFile("tmpl-1", "raw", s.put("image", content)))
	adopted, err := s.driver.Resources.Adopt(t.Context(), s.call("template", "tmpl-1"))
	if err != nil || string(adopted.GetData()) != string(made.GetHandle().GetData()) {
		t.Errorf("adopted %s, %v; want %s", adopted.GetData(), err, made.GetHandle().GetData())
	}
	if _, err := s.driver.Resources.Adopt(t.Context(), s.call("image-store", storeID)); err != nil {
		t.Errorf("adopting the store: %v", err)
	}
	_, err = s.driver.Resources.Adopt(t.Context(), s.call("template", "tmpl-9"))
	expectFault(t, err, notFound, "template-missing")
	for _, damage := range []func(string) error{
		os.Remove,
		func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		func(path string) error { return os.WriteFile(path, []byte(`{"version":1,"fileBytes":7}`), 0o600) },
	} {
		if err := damage(filepath.Join(s.path, "templates", "tmpl-1.json")); err != nil {
			t.Fatal(err)
		}
		stat, err := s.driver.Images.StatTemplate(t.Context(), s.template("tmpl-1"))
		if err != nil || stat.GetChecksum() != sha256Of(content) || stat.GetVirtualBytes() != mebibyte {
			t.Errorf("without its note: %v, %v", stat, err)
		}
	}
}

func TestObserveTellsAll(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	s.mustBring(s.fromFile("tmpl-1", "raw", s.put("image", disk(mebibyte))))
	for _, name := range []string{
		"templates/orphan.json", "templates/holiday.jpg", "downloads/tmpl-2.part", "notes.txt",
		"staging/tmpl-3.dead.data",
	} {
		if err := os.WriteFile(filepath.Join(s.path, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := s.driver.Resources.Observe(t.Context(), s.call("image-store", storeID), func(seen *driverpb.Observed) error {
		got = append(got, fmt.Sprintf("%s %s %s %d", seen.GetName(), seen.GetResource().GetId(), seen.GetState(),
			seen.GetBytes()))
		return nil
	})
	slices.Sort(got)
	want := []string{
		"downloads/tmpl-2.part  foreign 1", "notes.txt  foreign 1", "staging/tmpl-3.dead.data  foreign 1",
		"templates/holiday.jpg  foreign 1", "templates/orphan.json  foreign 1",
		"templates/tmpl-1.raw tmpl-1 present 1048576",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("observed\n%s\nwant\n%s\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
}

func TestTemplateInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	made := s.mustBring(s.fromFile("tmpl-1", "raw", s.put("image", disk(mebibyte))))
	guest := exec.CommandContext(t.Context(), "qemu-io", "-r", "-f", "raw", made.GetPath())
	input, err := guest.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := guest.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Start(); err != nil {
		t.Fatalf("starting qemu-io (install qemu-utils): %v", err)
	}
	if _, err := output.Read(make([]byte, 1)); err != nil { // its prompt: the template is open
		t.Fatal(err)
	}
	_, err = s.driver.Images.DeleteTemplate(t.Context(), s.template("tmpl-1"))
	expectFault(t, err, conflict, "template-in-use")
	_ = input.Close()
	_, _ = io.Copy(io.Discard, output)
	if err := guest.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.driver.Images.DeleteTemplate(t.Context(), s.template("tmpl-1")); err != nil {
		t.Errorf("deleting after the machine ended: %v", err)
	}
	s.nothingLeft()
}

func TestFreeSpaceIsKept(t *testing.T) {
	t.Parallel()
	point := diskdirtest.Mount(t, diskdirtest.Ext4, 32)
	s := openSite(t, point, map[string]any{"minimumFreeBytes": float64(20 * mebibyte)})
	path := s.put("image", []byte(strings.Repeat("\xebx", 8*mebibyte)))
	_, err := s.bring(s.fromFile("tmpl-1", "raw", path))
	expectFault(t, err, exhausted, "no-space")
	s.more["minimumFreeBytes"] = float64(100 * mebibyte)
	probe, err := s.driver.Resources.Probe(t.Context(), s.call("image-store", storeID))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_DEGRADED {
		t.Errorf("probe = %v, %v", probe, err)
	}
	s.nothingLeft()
}
