package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower/ipmisim"
)

// chassis is a host behind a controller: the machine whose first process has the id in the file first, and with which
// all others end. With a file deaf there, orders are taken and nothing happens. That it is off is noted when nothing of
// it runs any more.
const chassis = `#!/bin/sh
cd "${0%/*}" || exit 1
shift
runs() { grep -qs '^State:.[^ZX]' "/proc/$(cat first)/status"; }
cut_power() {
	kill -9 "$(cat first)"
	while runs; do sleep 0.01; done
	cut -d ' ' -f 1 /proc/uptime >off
}
verb=$1
shift
case $verb in
get) for what; do
	on=0
	if [ "$what" = power ] && runs; then on=1; fi
	echo "$what:$on"
done ;;
set)
	while [ $# -gt 1 ]; do
		if [ "$1=$2" = power=0 ]; then
			echo off >>orders
			[ -e deaf ] || cut_power
		fi
		shift 2
	done
	;;
esac
`

// rack is a site whose machines have controllers, and share a pool.
type rack struct {
	*site
	bmcs    map[string]*ipmisim.Controller
	hosts   map[string]string // ids, by name
	pool    string
	image   string
	referee *referee
}

// newRack has the pool's own driver on one of its machines.
func newRack(t *testing.T, poolOn string, names ...string) *rack {
	t.Helper()
	r := &rack{
		site: newSite(t, names...), bmcs: map[string]*ipmisim.Controller{}, hosts: map[string]string{},
		referee: &referee{seen: map[string][]run{}},
	}
	for _, name := range names {
		r.bmcs[name] = ipmisim.Start(t, chassis, map[string]string{
			"first": fmt.Sprint(r.metal[name].first.Process.Pid), "orders": "",
		})
	}
	image := countingGuest(t)
	r.pool = r.create("pools", map[string]any{"name": "disks", "spec": map[string]any{
		"driver": "bulkhead/filestorage", "node": poolOn, "shared": true,
		"properties": map[string]any{"path": dir(t, dataDir(t), "disks")},
	}})
	store := r.create("image-stores", map[string]any{"name": "images", "spec": map[string]any{
		"driver": "bulkhead/directoryimages", "node": poolOn,
		"properties": map[string]any{"path": dir(t, dataDir(t), "images"), "allowPaths": filepath.Dir(image)},
	}})
	r.image = r.create("templates", map[string]any{"name": "guest", "spec": map[string]any{
		"format": "raw", "file": image, "imageStoreId": store,
	}})
	return r
}

// host makes the host of a machine, with its controller.
func (r *rack) host(name string) {
	r.zone.t.Helper()
	properties := r.bmcs[name].Properties()
	properties["password"], properties["confirmSeconds"] = ipmisim.Password, 2
	r.hosts[name] = r.create("hosts", map[string]any{"name": name, "spec": map[string]any{
		"driver": "bulkhead/qemuhypervisor", "node": name,
		"outOfBand": map[string]any{"driver": "bulkhead/ipmi", "node": "n1", "properties": properties},
	}})
}

// countingGuest makes a disk with a guest of one sector, which costs next to nothing: it counts on the disk how often
// it was booted, and says so on its console all the time.
func countingGuest(t *testing.T) string {
	t.Helper()
	code := []byte{
		0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // segments are 0
		0xbc, 0x00, 0x7c, // mov $0x7c00,%sp
		0xfe, 0x06, 0x39, 0x7c, // incb digit
		0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c, 0xb9, 0x01, 0x00, 0xb6, 0x00, 0xcd, 0x13, // write this sector
		0xfb,             // sti
		0xbe, 0x2c, 0x7c, // again: mov $text,%si
		0xba, 0xf8, 0x03, // mov $0x3f8,%dx
		0xac, 0xee, // next: lodsb; out %al,(%dx)
		0xf4,                   // hlt, until the clock ticks
		0x84, 0xc0, 0x75, 0xf9, // test %al,%al; jne next
		0xeb, 0xf1, // jmp again
	}
	disk := make([]byte, 1<<20)
	copy(disk[copy(disk, code):], "this is boot 0 of it\r\n")
	copy(disk[510:], "\x55\xaa")
	path := filepath.Join(dir(t, dataDir(t), "guests"), "counts.raw")
	if err := os.WriteFile(path, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// deploy makes a machine on the only host that takes any.
func (r *rack) deploy(name string) (id string) {
	r.zone.t.Helper()
	return r.create("machines", map[string]any{"name": name, "spec": map[string]any{
		"cpus": 1, "memoryBytes": 64 << 20, "root": map[string]any{"templateId": r.image},
		"recovery": map[string]any{"policy": "restart"},
	}})
}

// patch changes a resource.
func (r *rack) patch(path string, spec map[string]any) {
	r.zone.t.Helper()
	change, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		r.zone.t.Fatal(err)
	}
	status, op := r.send("PATCH", "/v1/"+path+"?wait=30s", "application/merge-patch+json", bytes.NewReader(change))
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		r.zone.t.Fatalf("changing %s: %d %v", path, status, op)
	}
}

func (r *rack) status(path string) map[string]any {
	r.zone.t.Helper()
	_, found := r.call("GET", "/v1/"+path, nil)
	status, _ := found["status"].(map[string]any)
	return status
}

// alarmed waits until the alarm of a host has some words.
func (r *rack) alarmed(host string, words ...string) {
	r.zone.t.Helper()
	var message string
	r.zone.until(fmt.Sprintf("the alarm of %s has %q", host, words), func() bool {
		alarm, _ := r.status("hosts/" + r.hosts[host])["alarm"].(map[string]any)
		message, _ = alarm["message"].(string)
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(message, w) })
	})
	r.zone.t.Logf("the alarm of %s: %s", host, message)
}

// asked lists what was asked for a resource by somebody else than this test.
func (r *rack) asked(action, id string) (list []any) {
	r.zone.t.Helper()
	_, page := r.call("GET", "/v1/operations?action="+action+"&targetId="+id, nil)
	list, _ = page["items"].([]any)
	return list
}

// boots waits until a machine is on a host and says which boot it is.
func (r *rack) boots(machine, host string, boot int) {
	r.zone.t.Helper()
	r.zone.until("the machine runs on "+host, func() bool {
		_, m := r.call("GET", "/v1/machines/"+machine, nil)
		status, _ := m["status"].(map[string]any)
		return m["phase"] == "running" && status["hostId"] == r.hosts[host]
	})
	words := fmt.Sprintf("this is boot %d of it", boot)
	r.zone.until("the guest says: "+words, func() bool { return r.says(machine, words) })
}

// TestAMachineIsRecoveredFromALostHost loses two of three hosts, both with guests that run on: one is cut off, of one
// the agent is killed. The controller of the first does what it is told to, that of the second takes orders and does
// nothing.
func TestAMachineIsRecoveredFromALostHost(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	r := newRack(t, "h1", "h1", "h2", "h3")
	r.bmcs["h2"].Put("deaf", "")
	patience := func(seconds int) {
		r.patch("zone", map[string]any{"recovery": map[string]any{"suspectSeconds": seconds}})
	}
	patience(600)
	machines := map[string]string{}
	for _, name := range []string{"h1", "h2"} {
		r.host(name)
		machines[name] = r.deploy("on-" + name)
		r.patch("hosts/"+r.hosts[name], map[string]any{"unschedulable": true})
	}
	r.host("h3")
	r.referee.watch(t, machines["h1"], machines["h2"])
	for name, m := range machines {
		r.boots(m, name, 1)
	}

	lost := time.Now()
	since := func(what string) { t.Logf("%5.1f s after they were lost: %s", time.Since(lost).Seconds(), what) }
	sh(t, "ip", "link", "set", "port-h1", "down")
	r.metal["h2"].end(syscall.SIGKILL)
	for name := range machines { // both, or one could be taken for lost alone
		r.zone.until(name+" is suspected", func() bool { return r.status("hosts/" + r.hosts[name])["suspicion"] != nil })
	}
	patience(1)
	for name, m := range machines {
		r.alarmed(name, "2 of 3 hosts went within 5m0s", "bulkhead ha release")
		if guests := r.referee.runs(m); len(guests) != 1 || !guests[0].alive() || r.bmcs[name].Get("orders") != "" {
			t.Errorf("the guest of %s: %v; orders: %q", name, guests, r.bmcs[name].Get("orders"))
		}
	}
	since("an alarm, and nothing else was done")
	released := time.Now()
	r.patch("zone", map[string]any{"recovery": map[string]any{"releasedAt": released.UTC().Format(time.RFC3339)}})

	r.boots(machines["h1"], "h3", 2)
	since(fmt.Sprintf("it runs elsewhere, %.1f s after the release", time.Since(released).Seconds()))
	r.inOrder(machines["h1"], "h1")

	r.comesBack("h1")
	since("a host is back")

	r.alarmed("h2", "machine on-h2 waits for proof", "says on", "attest-off h2")
	since("an alarm, since a controller does not confirm")
	if guests := r.referee.runs(machines["h2"]); len(guests) != 1 || !guests[0].alive() {
		t.Errorf("without proof the guests are %v", guests)
	}
	if asked := r.asked("recover", machines["h2"]); len(asked) > 0 {
		t.Errorf("without proof it was asked for %v", asked)
	}
	r.bmcs["h2"].End()
	r.metal["h2"].powerOff()
	r.bmcs["h2"].Put("off", uptime(t))
	attested := time.Now()
	r.attest("h2", "I pulled both plugs of it")
	r.boots(machines["h2"], "h3", 2)
	since(fmt.Sprintf("the other runs elsewhere, %.1f s after somebody attested", time.Since(attested).Seconds()))
	r.inOrder(machines["h2"], "h2")

	for name, m := range machines {
		if guests := r.referee.runs(m); len(guests) != 2 || !guests[1].alive() {
			t.Errorf("in the end the guests of what was on %s are %v", name, guests)
		}
	}
}

// uptime is the time since this computer started.
func uptime(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))[0]
}

// inOrder checks that the second guest of a machine was started after nothing ran on its host any more.
func (r *rack) inOrder(machine, lost string) {
	r.zone.t.Helper()
	guests := r.referee.runs(machine)
	off, err := strconv.ParseFloat(strings.TrimSpace(r.bmcs[lost].Get("off")), 64)
	if err != nil || len(guests) != 2 || guests[0].alive() || guests[0].space == guests[1].space || guests[1].began < off {
		r.zone.t.Errorf("%s was off at %v, %v; the guests were %v", lost, off, err, guests)
	}
}

// attest has an operator say that a host is off.
func (r *rack) attest(host, statement string) {
	r.zone.t.Helper()
	path := "/v1/hosts/" + r.hosts[host] + "/actions/attest-off?wait=30s"
	status, op := r.call("POST", path, map[string]any{"statement": statement})
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		r.zone.t.Fatalf("attesting: %d %v", status, op)
	}
}

// comesBack starts a machine again, and waits until its host is ready.
func (r *rack) comesBack(name string) {
	r.zone.t.Helper()
	m := r.metal[name]
	m.gone() // its power was cut
	m.boot()
	r.bmcs[name].Put("first", fmt.Sprint(m.first.Process.Pid))
	m.startAgent()
	r.is("n1", "hosts/"+r.hosts[name], "ready", "")
	if s := r.status("hosts/" + r.hosts[name]); s["suspicion"] != nil || s["fence"] != nil || s["alarm"] != nil {
		r.zone.t.Errorf("%s is back and has %v", name, s)
	}
}
