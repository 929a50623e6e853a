package ipmipower_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

const (
	password = "sixteen-byte-key"
	// guid is as the controller sends it, hostUUID how the host shows it, with the first fields the other way round.
	guid     = "a123456789abcdefa123456789abcdef"
	hostUUID = "674523a1-ab89-efcd-a123-456789abcdef"
	serial   = "SN-0042"
)

// chassis is the host behind a controller: ipmi_sim asks this program for the power and orders it changed. A power that
// falls takes the time in the file delay; with a file deaf there, orders are taken and nothing happens.
const chassis = `#!/bin/sh
cd "${0%/*}" || exit 1
shift
if [ -e falling ] && [ "$(date +%s%N)" -ge "$(cat falling)" ]; then echo 0 >power; rm -f falling; fi
fall() {
	[ "$(cat power)" = 1 ] && [ ! -e falling ] || return 0
	echo cut >>cuts
	if [ -e delay ]; then echo $(($(date +%s%N) + $(cat delay))) >falling; else echo 0 >power; fi
}
verb=$1
shift
case $verb in
get) for what; do [ "$what" = power ] && echo "power:$(cat power)" || echo "$what:0"; done ;;
set)
	[ -e deaf ] && exit 0
	while [ $# -gt 1 ]; do
		case $1=$2 in
		power=0 | shutdown=*) fall ;;
		power=1) rm -f falling; echo 1 >power ;;
		esac
		shift 2
	done
	;;
esac
`

const lanConf = `name "bmc"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 %d
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid %s
endlan
chassis_control "%s/chassis 0x20"
user 2 true "root" "%s" admin 10 none md2 md5 straight
user 3 true "guest" "%s" user 10 none md2 md5 straight
`

const emulation = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
mc_add_fru_data 0x20 0 %d data %s
`

// bmc is a real ipmi_sim with a host behind it.
type bmc struct {
	testing.TB
	dir  string
	port int
	end  func()
}

// startBMC starts a controller whose host is on, and ends it with the test.
func startBMC(tb testing.TB) *bmc {
	tb.Helper()
	dir, err := os.MkdirTemp("", "bmc") // ipmi_sim takes no long paths
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bmc{TB: tb, dir: dir, port: freePort(tb)}
	fru := productFRU()
	for name, content := range map[string]string{
		"chassis": chassis, "power": "1\n", "cuts": "",
		"lan.conf": fmt.Sprintf(lanConf, b.port, guid, dir, password, password),
		"emu":      fmt.Sprintf(emulation, len(fru), strings.TrimSpace(strings.Repeat("0x%02x ", len(fru)))),
	} {
		if name == "emu" {
			content = fmt.Sprintf(content, fru...)
		}
		b.put(name, content)
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		tb.Fatal(err)
	}
	b.start()
	tb.Cleanup(func() { b.end() })
	return b
}

func (b *bmc) put(name, content string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o700); err != nil { //nolint:gosec // a program
		b.Fatal(err)
	}
}

func (b *bmc) get(name string) string {
	b.Helper()
	content, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.Fatal(err)
	}
	return string(content)
}

// productFRU is an inventory with a product area: manufacturer, model, part, version, serial number.
func productFRU() []any {
	area := []byte{1, 0, 25}
	for _, text := range []string{"Acme", "Metal 1", "", "", serial} {
		area = append(append(area, 0xc0|byte(len(text))), text...)
	}
	area = append(area, 0xc0, 0xc0, 0xc1)
	for len(area)%8 != 7 {
		area = append(area, 0)
	}
	area[1] = byte(len(area)+1) / 8
	area = append(area, checksum(area))
	header := []byte{1, 0, 0, 0, 1, 0, 0}
	var all []any
	for _, b := range append(append(header, checksum(header)), area...) {
		all = append(all, b)
	}
	return all
}

func checksum(data []byte) byte {
	var sum byte
	for _, b := range data {
		sum += b
	}
	return -sum
}

func freePort(tb testing.TB) int {
	tb.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	defer socket.Close()
	address, _ := socket.LocalAddr().(*net.UDPAddr)
	return address.Port
}

// start starts ipmi_sim on a thread of its own: it ends with the thread, and so with this process, however that ends.
func (b *bmc) start() {
	b.Helper()
	command := exec.Command("ipmi_sim", "-c", filepath.Join(b.dir, "lan.conf"), "-f", filepath.Join(b.dir, "emu"),
		"-s", filepath.Join(b.dir, "state"), "-n")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	said := &strings.Builder{}
	command.Stdout, command.Stderr = said, said
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		b.Fatal(err)
	}
	b.put("pid", strconv.Itoa(command.Process.Pid))
	b.end = func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		out, err := b.ipmitool("chassis", "power", "status")
		if err == nil {
			return
		}
		select {
		case <-ended:
			b.Fatalf("ipmi_sim ended: %s", said)
		default:
		}
		if time.Now().After(deadline) {
			b.end()
			b.Fatalf("ipmi_sim does not answer: %s: %s", out, said)
		}
	}
}

// ipmitool asks the controller past the driver.
func (b *bmc) ipmitool(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, "ipmitool", append([]string{
		"-I", "lanplus", "-H", "127.0.0.1", "-p", strconv.Itoa(b.port), "-U", "root", "-E", "-C", "3", "-N", "1", "-R", "2",
	}, command...)...)
	child.Env = append(os.Environ(), "IPMI_PASSWORD="+password)
	out, err := child.CombinedOutput()
	return string(out), err
}

// powered tells whether the host is on.
func (b *bmc) powered() bool {
	b.Helper()
	if falling, err := os.ReadFile(filepath.Join(b.dir, "falling")); err == nil {
		at, err := strconv.ParseInt(strings.TrimSpace(string(falling)), 10, 64)
		if err == nil && time.Now().UnixNano() >= at {
			return false
		}
	}
	return strings.TrimSpace(b.get("power")) == "1"
}

func (b *bmc) cuts() int { return strings.Count(b.get("cuts"), "cut") }

// properties of the host, as the engine hands them over.
func (b *bmc) properties() drivertest.Properties {
	return drivertest.Properties{
		"address": "127.0.0.1", "port": float64(b.port), "user": "root",
		"expectedUuid": hostUUID, "cipherSuite": 3.0,
		"confirmSeconds": 30.0,
	}
}
