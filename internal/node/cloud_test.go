package node_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cloudImage returns a disk with a stock distribution and its cloud-init, built unless a new one is there. It has to
// be called where packages can be downloaded.
func cloudImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(imageDir(t), "cloud.raw")
	inside := os.Getenv(insideVar) != "" // where nothing can be downloaded; it was built before
	if inside || isNewer(t, path, "../../guest/build-cloud.sh", "../../guest/disk.sh") {
		return path
	}
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), "../../guest/build-cloud.sh", path).CombinedOutput()
	if err != nil {
		t.Fatalf("building a cloud image: %v\n%s", err, out)
	}
	t.Logf("built a cloud image in %s", time.Since(began).Round(time.Second))
	return path
}

// isNewer tells whether a file was made after all the sources.
func isNewer(t *testing.T, path string, sources ...string) bool {
	t.Helper()
	made, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	for _, source := range sources {
		info, statErr := os.Stat(source)
		if err = errors.Join(err, statErr); err != nil {
			t.Fatal(err)
		}
		if !made.ModTime().After(info.ModTime()) {
			return false
		}
	}
	return true
}

// TestACloudImageDoesWhatItIsTold boots a stock distribution with user data: its cloud-init finds the seed, sets the
// name, writes a file, runs a command, lets the owner of a key in, and the machine is on the network by DHCP. Nothing
// of it is known to the guest before.
func TestACloudImageDoesWhatItIsTold(t *testing.T) {
	image := cloudImage(t)
	if !inOwnNetwork(t) {
		return
	}
	s := start(t, dataDir(t))
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("making a key, which needs openssh-client: %v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	w := buildCloud(s, image, string(public))
	began := time.Now()
	for path, want := range map[string]string{
		"written": "from user data\n", "name": "harbour\n", "address": w.guest + "\n",
	} {
		if got := w.page(path); got != want {
			t.Errorf("the guest's %s is %q, want %q", path, got, want)
		}
	}
	t.Logf("cloud-init had done its work %s after the start", time.Since(began).Round(time.Second))
	said := w.logIn(key, "hostname; id -un; cloud-init status --wait --long")
	if !strings.HasPrefix(said, "harbour\ndebian\n") || !strings.Contains(said, "status: done\n") {
		t.Errorf("logged in, the guest says %q", said)
	}
	w.tearDown()
}

// cloudWorld is a machine that boots a cloud image.
type cloudWorld struct {
	*world
	guest string // its address in its network
}

// newGround makes all that a machine on real drivers needs: a template of the image, and a network.
func newGround(s *server, image, cidr string) (w *world, template, network string) {
	s.t.Helper()
	w = &world{server: s}
	s.t.Cleanup(func() {
		if s.t.Failed() && s.node != nil {
			w.tearDown()
		}
	})
	pool, store := filepath.Join(s.dir, "pool"), filepath.Join(s.dir, "images")
	for _, d := range []string{pool, store} {
		if err := os.Mkdir(d, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	w.add("hosts", "host", map[string]any{"driver": "bulkhead/qemuhypervisor"})
	w.add("pools", "pool", map[string]any{"driver": "bulkhead/filestorage", "properties": map[string]any{"path": pool}})
	w.add("image-stores", "images", map[string]any{
		"driver": "bulkhead/directoryimages", "properties": map[string]any{"path": store, "allowPaths": filepath.Dir(image)},
	})
	template = w.add("templates", "guest", map[string]any{"format": "raw", "file": image})
	network = w.add("networks", "net", map[string]any{"driver": "bulkhead/bridgenetwork", "cidr": cidr})
	return w, template, network
}

const cloudUserData = `#cloud-config
locale: C.UTF-8
ssh_genkeytypes: [ed25519]
ssh_authorized_keys:
- %s
write_files:
- path: /srv/written
  content: |
    from user data
runcmd:
- hostname >/srv/name
- ip -4 -o address show eth0 | sed 's,.*inet ,,; s,/.*,,' >/srv/address
- systemd-run python3 -m http.server 80 --directory /srv
`

func buildCloud(s *server, image, key string) *cloudWorld {
	ground, template, network := newGround(s, image, "10.78.0.0/24")
	w := &cloudWorld{world: ground}
	w.machine = w.add("machines", "harbour", map[string]any{
		"cpus": 2, "memoryBytes": 1 << 30, "root": map[string]any{"templateId": template},
		"nics":      []map[string]any{{"networkId": network}},
		"cloudInit": map[string]any{"userData": fmt.Sprintf(cloudUserData, strings.TrimSpace(key))},
	})
	_, m := s.call("GET", "/v1/machines/"+w.machine, nil)
	status, _ := m["status"].(map[string]any)
	nics, _ := status["nicIds"].([]any)
	addresses, _ := status["addresses"].([]any)
	w.guest = fmt.Sprint(addresses[0])
	for listen, target := range map[int]int{8080: 80, 8022: 22} {
		w.rule = w.create("rules", map[string]any{"spec": map[string]any{
			"networkId": network, "type": "port-forward", "nicId": nics[0], "targetPort": target, "listenPort": listen,
		}})
	}
	_, r := s.call("GET", "/v1/rules/"+w.rule, nil)
	ruleStatus, _ := r["status"].(map[string]any)
	w.address = fmt.Sprint(ruleStatus["listenAddress"])
	return w
}

// cloudPatience is how long a stock distribution may take to start: a minute and a half where it is emulated by two
// cores, several times that when others use them.
const cloudPatience = 8 * time.Minute

// page fetches one of the guest's files, as soon as it serves them.
func (w *cloudWorld) page(path string) string {
	w.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	var failed error
	for deadline := time.Now().Add(cloudPatience); time.Now().Before(deadline); {
		var answer *http.Response
		if answer, failed = client.Get("http://" + w.address + ":8080/" + path); failed != nil {
			time.Sleep(100 * time.Millisecond) // between two looks at a level
			continue
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			w.t.Fatalf("fetching %s: %s, %v", path, answer.Status, err)
		}
		return string(text)
	}
	w.t.Fatalf("the guest does not answer at %s: %v", w.address, failed)
	return ""
}

// logIn runs a command in the guest as the distribution's user.
func (w *cloudWorld) logIn(key, command string) string {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), "ssh", "-q", "-i", key, "-p", "8022", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60",
		"debian@"+w.address, command).Output()
	if err != nil {
		w.t.Errorf("logging in with the key: %v", err)
	}
	return string(out)
}
