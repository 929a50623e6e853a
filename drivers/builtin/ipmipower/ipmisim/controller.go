package ipmisim

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
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// What a controller lets in, and says of its host.
const (
	User     = "root"
	Password = "sixteen-byte-key"
	// GUID is as the controller sends it, HostUUID how the host shows it, with the first fields the other way round.
	GUID     = "a123456789abcdefa123456789abcdef"
	HostUUID = "674523a1-ab89-efcd-a123-456789abcdef"
	Serial   = "SN-0042"
	// Cipher is the one suite that ipmi_sim and ipmitool both know.
	Cipher = 3
)

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
user 2 true "` + User + `" "%s" admin 10 none md2 md5 straight
user 3 true "guest" "%s" user 10 none md2 md5 straight
`

const emulation = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
mc_add_fru_data 0x20 0 %d data %s
`

// patience is how long a controller may take to answer on a machine that has much to do.
const patience = 20 * time.Second

// Controller is a real ipmi_sim with a host behind it.
type Controller struct {
	drivertest.T
	// Dir has the program "chassis" and what that keeps, and ipmi_sim's pid in the file "pid".
	Dir string
	// Port on 127.0.0.1 where it listens.
	Port int

	pid   int
	ended <-chan struct{}
}

// Start starts a controller, and ends it with the test. Chassis is a shell script, called in any directory, as
// "chassis 0x20 get power" to print "power:1" or "power:0", and as "chassis 0x20 set power 0"; files has others of its
// directory, with their content.
func Start(tb drivertest.T, chassis string, files map[string]string) *Controller {
	tb.Helper()
	dir, err := os.MkdirTemp("", "bmc") // ipmi_sim takes no long paths
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &Controller{T: tb, Dir: dir, Port: freePort(tb)}
	fru := productFRU()
	c.Put("chassis", chassis)
	c.Put("lan.conf", fmt.Sprintf(lanConf, c.Port, GUID, dir, Password, Password))
	c.Put("emu", fmt.Sprintf(emulation, len(fru), fmt.Sprintf("% #x", fru)))
	for name, content := range files {
		c.Put(name, content)
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.End)
	c.start()
	return c
}

// Put writes a file of its directory.
func (c *Controller) Put(name, content string) {
	c.Helper()
	if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(content), 0o700); err != nil { //nolint:gosec // a program
		c.Fatal(err)
	}
}

// Get reads a file of its directory.
func (c *Controller) Get(name string) string {
	c.Helper()
	content, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err != nil {
		c.Fatal(err)
	}
	return string(content)
}

// productFRU is an inventory with a product area: manufacturer, model, part, version, serial number.
func productFRU() []byte {
	area := []byte{1, 0, 25}
	for _, text := range []string{"Acme", "Metal 1", "", "", Serial} {
		area = append(append(area, 0xc0|byte(len(text))), text...)
	}
	area = append(area, 0xc0, 0xc0, 0xc1)
	for len(area)%8 != 7 {
		area = append(area, 0)
	}
	area[1] = byte(len(area)+1) / 8
	area = append(area, checksum(area))
	header := []byte{1, 0, 0, 0, 1, 0, 0}
	return append(append(header, checksum(header)), area...)
}

func checksum(data []byte) byte {
	var sum byte
	for _, b := range data {
		sum += b
	}
	return -sum
}

func freePort(tb drivertest.T) int {
	tb.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	address, _ := socket.LocalAddr().(*net.UDPAddr)
	return address.Port
}

// start starts ipmi_sim on a thread of its own: it ends with the thread, and so with this process, however that ends.
func (c *Controller) start() {
	c.Helper()
	command := exec.CommandContext(context.Background(), "ipmi_sim", "-n", "-c", filepath.Join(c.Dir, "lan.conf"),
		"-f", filepath.Join(c.Dir, "emu"), "-s", filepath.Join(c.Dir, "state"))
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
		c.Fatalf("%v; these tests need ipmi_sim and ipmitool: apt-get install openipmi ipmitool", err)
	}
	c.pid, c.ended = command.Process.Pid, ended
	c.Put("pid", strconv.Itoa(c.pid))
	for deadline := time.Now().Add(patience); ; {
		out, err := c.Ask("chassis", "power", "status")
		if err == nil {
			return
		}
		select {
		case <-ended:
			c.Fatalf("ipmi_sim ended: %s", said)
		default:
		}
		if time.Now().After(deadline) {
			c.End()
			c.Fatalf("ipmi_sim does not answer: %s: %s", out, said)
		}
	}
}

// End ends the controller, as if it had lost its power too. Its host stays as it is.
func (c *Controller) End() {
	if c.pid != 0 {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
		<-c.ended
		c.pid = 0
	}
}

// Ask asks the controller as an administrator does, by ipmitool.
func (c *Controller) Ask(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	child := exec.CommandContext(ctx, "ipmitool", append([]string{
		"-I", "lanplus", "-H", "127.0.0.1", "-p", strconv.Itoa(c.Port), "-U", User, "-E", "-C", strconv.Itoa(Cipher),
		"-N", "1", "-R", "2",
	}, command...)...)
	child.Env = append(os.Environ(), "IPMI_PASSWORD="+Password)
	out, err := child.CombinedOutput()
	return string(out), err
}

// Properties are those of the host in the words of the driver "bulkhead/ipmi", but for the password.
func (c *Controller) Properties() map[string]any {
	return map[string]any{
		"address": "127.0.0.1", "port": float64(c.Port), "user": User, "cipherSuite": float64(Cipher),
		"expectedUuid": HostUUID,
	}
}
