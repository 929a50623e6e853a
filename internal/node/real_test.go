package node_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
)

const insideVar = "BULKHEAD_TEST_NETNS"

// inOwnNetwork runs the test again in namespaces of its own, so that the machine's
// network is not touched and what a killed run leaves is nowhere; it returns true
// inside of them.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVar) != "" {
		return true
	}
	guestImage(t) // where packages can be downloaded, if it has to be built
	cmd, err := enclosure.Command(
		t.Context(), enclosure.OwnNetwork, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m",
	)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, insideVar+"=1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = enclosure.Run(cmd)
	t.Logf("%s", said.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// imageDir keeps the guest disk from one run to the next.
func imageDir(t *testing.T) string {
	t.Helper()
	const dir = "/var/tmp/bulkhead-test-images"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// guestImage returns the small guest disk, built before if it is not there.
func guestImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(imageDir(t), "guest.raw")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	out, err := exec.CommandContext(t.Context(), "../../guest/build.sh", path).CombinedOutput()
	if err != nil {
		t.Fatalf("building the guest: %v\n%s", err, out)
	}
	return path
}

func TestAMachineBootsAndAnswers(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	dir := dataDir(t)
	s := start(t, dir)
	w := buildWorld(s, guestImage(t))
	page := w.fetch(time.Minute)
	t.Logf("the guest answers: %s", page)
	w.tearDown()
}

// world is what a machine needs, on real drivers.
type world struct {
	*server
	machine, nic, address, rule string
	ids                         []string
}

func buildWorld(s *server, image string) *world {
	w, template, network := newGround(s, image, "10.77.0.0/24")
	w.machine = w.add("machines", "web", map[string]any{
		"cpus": 1, "memoryBytes": 256 << 20, "root": map[string]any{"templateId": template},
		"nics": []map[string]any{{"networkId": network}},
	})
	_, m := s.call("GET", "/v1/machines/"+w.machine, nil)
	status, _ := m["status"].(map[string]any)
	nics, _ := status["nicIds"].([]any)
	w.nic = fmt.Sprint(nics[0])
	w.rule = w.add("rules", "", map[string]any{
		"networkId": network, "type": "port-forward", "nicId": w.nic, "targetPort": 80, "listenPort": 8080,
	})
	_, r := s.call("GET", "/v1/rules/"+w.rule, nil)
	ruleStatus, _ := r["status"].(map[string]any)
	w.address = fmt.Sprint(ruleStatus["listenAddress"])
	return w
}

func (w *world) add(plural, name string, spec map[string]any) string {
	w.t.Helper()
	body := map[string]any{"spec": spec}
	if name != "" {
		body["name"] = name
	}
	id := w.create(plural, body)
	w.ids = append(w.ids, plural+"/"+id)
	w.t.Logf("%s %s", plural, id)
	return id
}

// fetch gets the guest's page, as soon as it is served.
func (w *world) fetch(patience time.Duration) string {
	w.t.Helper()
	client := &http.Client{Timeout: 2 * time.Second}
	deadline := time.Now().Add(patience)
	for {
		answer, err := client.Get("http://" + w.address + ":8080/")
		if err == nil {
			defer answer.Body.Close()
			page, err := io.ReadAll(answer.Body)
			if err != nil {
				w.t.Fatal(err)
			}
			return string(page)
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the guest does not answer at %s: %v", w.address, err)
		}
	}
}

// tearDown deletes everything, the last made first.
func (w *world) tearDown() {
	w.t.Helper()
	for _, id := range slices.Backward(w.ids) {
		if id == "rules/"+w.rule {
			continue // goes with the machine
		}
		status, op := w.call("DELETE", "/v1/"+id+"?wait=60s", nil)
		if status != http.StatusAccepted || op["phase"] != "succeeded" {
			w.t.Errorf("deleting %s: %d %v", id, status, op)
		}
	}
}

// TestAGuestOutlivesServerAndDrivers kills the server, as hard as a program can be
// killed, and every driver, while a guest serves a page.
func TestAGuestOutlivesServerAndDrivers(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	dir := dataDir(t)
	s := start(t, dir)
	w := buildWorld(s, guestImage(t))
	before := w.fetch(time.Minute)
	s.close(false)
	if page := w.fetch(time.Second); page != before {
		t.Errorf("without a server the guest answers %q, before %q", page, before)
	}
	again := start(t, dir)
	w.server = again
	w.killDrivers()
	if page := w.fetch(time.Second); page != before {
		t.Errorf("after its drivers were killed the guest answers %q, before %q", page, before)
	}
	status, op := w.call("POST", "/v1/machines/"+w.machine+"/actions/reboot?wait=60s", map[string]any{"force": true})
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Errorf("rebooting the adopted machine: %d %v", status, op)
	}
	if page := w.fetch(time.Minute); page == before {
		t.Errorf("after a reboot the guest still answers %q", page)
	}
	w.losePool()
	w.killDrivers()
	w.killGuest()
	w.await("machines/"+w.machine, "stopped")
	status, op = w.call("POST", "/v1/machines/"+w.machine+"/actions/start?wait=60s", nil)
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Errorf("starting the machine whose guest was killed: %d %v", status, op)
	}
	w.fetch(time.Minute)
	w.tearDown()
}

// losePool takes the directory of a pool away that nobody uses: nobody else may notice.
func (w *world) losePool() {
	w.t.Helper()
	path := filepath.Join(w.dir, "lost")
	if err := os.Mkdir(path, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.add("pools", "lost", map[string]any{"driver": "bulkhead/filestorage", "properties": map[string]any{"path": path}})
	if err := os.RemoveAll(path); err != nil {
		w.t.Fatal(err)
	}
	w.ids = slices.Delete(w.ids, len(w.ids)-1, len(w.ids))
}

// killGuest kills the machine's QEMU, as the kernel does when it is out of memory.
func (w *world) killGuest() {
	w.t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range processes {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("qemu-system")) || !bytes.Contains(line, []byte(w.machine)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			w.t.Fatalf("killing the guest: %v", err)
		}
		return
	}
	w.t.Fatal("no guest runs")
}

// await waits until a resource is in a phase.
func (w *world) await(path, phase string) {
	w.t.Helper()
	w.until(path+" is "+phase, func() bool {
		_, r := w.call("GET", "/v1/"+path, nil)
		return r["phase"] == phase
	})
}

// killDrivers kills every driver process of the server.
func (w *world) killDrivers() {
	w.t.Helper()
	_, page := w.call("GET", "/v1/drivers", nil)
	items, _ := page["items"].([]any)
	for _, item := range items {
		driver, _ := item.(map[string]any)
		status, _ := driver["status"].(map[string]any)
		instances, _ := status["instances"].([]any)
		for _, one := range instances {
			instance, _ := one.(map[string]any)
			if pid, ok := instance["pid"].(float64); ok && pid > 0 {
				if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
					w.t.Errorf("killing driver %v: %v", driver["name"], err)
				}
			}
		}
	}
}
