package redfishpower_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

const (
	password = "kit-secret-words"
	// users is an htpasswd file with that password.
	users = "root:$2b$04$bpVarlk7birMkv3SS7QmwuVR0yxnmkz7SvS6Y0M7uhjqLUHOoLmJy\n"
	// systems is how many hosts an emulator has.
	systems = 150
)

// emulator is a real sushy-emulator with many hosts.
type emulator struct {
	drivertest.T
	address     string
	port        int
	certificate []byte // PEM
	fingerprint string

	mutex sync.Mutex
	used  int
	power map[string]string // by UUID, by the emulator's own notifications
	falls map[string]int
}

// startEmulator starts an emulator whose hosts take so many seconds to obey.
func startEmulator(tb drivertest.T, address string, port, slowest int) *emulator {
	tb.Helper()
	installed := emulatorDir(tb)
	e := &emulator{T: tb, address: address, port: port, power: map[string]string{}, falls: map[string]int{}}
	if e.port == 0 {
		e.port = freePort(tb, address)
	}
	notified := httptest.NewServer(http.HandlerFunc(e.note))
	tb.Cleanup(notified.Close)
	dir := tb.TempDir()
	key := e.certify(dir)
	write(tb, filepath.Join(dir, "users"), users)
	write(tb, filepath.Join(dir, "emulator.conf"), e.config(dir, key, notified.URL))
	e.run(exec.Command("python3", "testdata/emulator.py", strconv.Itoa(slowest),
		"--config", filepath.Join(dir, "emulator.conf")), installed)
	e.await()
	return e
}

func freePort(tb drivertest.T, address string) int {
	tb.Helper()
	listener, err := net.Listen("tcp", address+":0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	at, _ := listener.Addr().(*net.TCPAddr)
	return at.Port
}

func write(tb drivertest.T, path, content string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// certify makes the emulator's own certificate, which only itself has signed.
func (e *emulator) certify(dir string) (key string) {
	e.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(e.address)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		e.Fatal(err)
	}
	sum := sha256.Sum256(der)
	e.fingerprint = hex.EncodeToString(sum[:])
	e.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		e.Fatal(err)
	}
	key = filepath.Join(dir, "key.pem")
	write(e, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	write(e, filepath.Join(dir, "certificate.pem"), string(e.certificate))
	return key
}

func (e *emulator) config(dir, key, notify string) string {
	var hosts strings.Builder
	for n := range systems {
		fmt.Fprintf(&hosts, "  {'uuid': '%s', 'name': 'host-%d', 'power_state': 'On', 'external_notifier': True, "+
			"'nics': []},\n", uuid(n), n)
	}
	return fmt.Sprintf(`SUSHY_EMULATOR_FAKE_DRIVER = True
SUSHY_EMULATOR_LISTEN_IP = '%s'
SUSHY_EMULATOR_LISTEN_PORT = %d
SUSHY_EMULATOR_SSL_CERT = '%s/certificate.pem'
SUSHY_EMULATOR_SSL_KEY = '%s'
SUSHY_EMULATOR_AUTH_FILE = '%s/users'
SUSHY_EMULATOR_STATE_DIR = '%s'
EXTERNAL_NOTIFICATION_URL = '%s'
SUSHY_EMULATOR_FAKE_SYSTEMS = [
%s]
`, e.address, e.port, dir, key, dir, dir, notify, hosts.String())
}

func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", n) }

// note takes what the emulator tells of each change.
func (e *emulator) note(_ http.ResponseWriter, r *http.Request) {
	var changed struct {
		UUID  string `json:"uuid"`
		Power string `json:"power_state"`
	}
	if json.NewDecoder(r.Body).Decode(&changed) != nil {
		return
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if changed.Power == "Off" && e.power[changed.UUID] != "Off" {
		e.falls[changed.UUID]++
	}
	e.power[changed.UUID] = changed.Power
}

// run runs the emulator on a thread of its own: it ends with the thread, and so with this process.
func (e *emulator) run(command *exec.Cmd, installed string) {
	e.Helper()
	said, err := os.Create(filepath.Join(e.TempDir(), "said"))
	if err != nil {
		e.Fatal(err)
	}
	command.Env = append(os.Environ(), "PYTHONPATH="+installed, "PYTHONDONTWRITEBYTECODE=1", "no_proxy=*")
	command.Stdout, command.Stderr = said, said
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
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
		e.Fatal(err)
	}
	e.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
		if e.Failed() {
			content, _ := os.ReadFile(said.Name())
			e.Logf("the emulator said:\n%s", content[max(0, len(content)-4000):])
		}
		_ = said.Close()
	})
}

// client asks the emulator past the driver.
func (e *emulator) client() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(e.certificate)
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
}

func (e *emulator) await() {
	e.Helper()
	client, deadline := e.client(), time.Now().Add(time.Minute)
	for {
		response, err := client.Get(e.origin() + "/redfish/v1/")
		if err == nil {
			_ = response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			e.Fatalf("the emulator does not answer: %v", err)
		}
	}
}

func (e *emulator) origin() string {
	return "https://" + net.JoinHostPort(e.address, strconv.Itoa(e.port))
}

// powerOf is the power of a host as any other client sees it.
func (e *emulator) powerOf(system string) string {
	e.Helper()
	request, err := http.NewRequestWithContext(e.Context(), http.MethodGet, e.origin()+"/redfish/v1/Systems/"+system, nil)
	if err != nil {
		e.Fatal(err)
	}
	request.SetBasicAuth("root", password)
	response, err := e.client().Do(request)
	if err != nil {
		e.Fatal(err)
	}
	defer response.Body.Close()
	var state struct{ PowerState string }
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		e.Fatal(err)
	}
	return state.PowerState
}

// fallsOf tells how often the power of a host went off.
func (e *emulator) fallsOf(system string) int {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.falls[system]
}

// host returns the properties of one that nobody has used.
func (e *emulator) host() drivertest.Properties {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.used == systems {
		e.Fatal("the emulator has no more hosts")
	}
	e.used++
	return drivertest.Properties{
		"address": e.address, "port": float64(e.port), "user": "root", "systemId": uuid(e.used - 1),
		"expectedUuid": strings.ToUpper(uuid(e.used - 1)), "certificateFingerprint": e.fingerprint,
		"confirmSeconds": 30.0, "requestSeconds": 10.0,
	}
}
