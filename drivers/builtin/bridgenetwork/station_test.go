package bridgenetwork_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// Addresses of the world outside the host.
var (
	hostOutside = netip.MustParsePrefix("203.0.113.1/24")
	outsideAt   = netip.MustParsePrefix("203.0.113.2/24")
)

// station is a network namespace of the test with something in it that talks.
type station struct {
	*world
	*netspace.Space
	name string
}

func (w *world) station(name string) *station {
	w.Helper()
	if err := w.spaces.Ensure(name); err != nil {
		w.Fatal(err)
	}
	space, err := w.spaces.Open(name)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		space.Close()
		if err := w.spaces.Remove(name); err != nil {
			w.Error(err)
		}
	})
	s := &station{world: w, Space: space, name: name}
	s.run("busybox", "ip", "link", "set", "lo", "up")
	return s
}

// outside connects a station with the host, as the rest of the world.
func (w *world) outside() *station {
	w.Helper()
	s := w.station("outside")
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "wan0", TxQLen: -1})
	pair.PeerName, pair.PeerNamespace = "wan1", netlink.NsFd(s.FD())
	if err := netlink.LinkAdd(pair); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { w.host("busybox", "ip", "link", "del", "wan0") })
	w.host("busybox", "ip", "addr", "add", hostOutside.String(), "dev", "wan0")
	w.host("busybox", "ip", "link", "set", "wan0", "up")
	s.run("busybox", "ip", "addr", "add", outsideAt.String(), "dev", "wan1")
	s.run("busybox", "ip", "link", "set", "wan1", "up")
	w.host("busybox", "ip", "route", "add", "default", "via", outsideAt.Addr().String())
	return s
}

func (w *world) host(program string, arguments ...string) {
	w.Helper()
	if output, err := exec.Command(program, arguments...).CombinedOutput(); err != nil {
		w.Fatalf("%s %v: %v: %s", program, arguments, err, output)
	}
}

func (s *station) run(argv ...string) string {
	s.Helper()
	output, err := s.Run(s.context(), "", argv...)
	if err != nil {
		s.Fatal(err)
	}
	return string(output)
}

// dial connects from the station.
func (s *station) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	var connection net.Conn
	err := s.Do(func() (err error) {
		connection, err = (&net.Dialer{}).DialContext(ctx, protocol, address)
		return err
	})
	return connection, err
}

// serve answers HTTP on the station with its name and who asks: "web 10.0.0.1".
func (s *station) serve(address string) {
	s.Helper()
	var listener net.Listener
	err := s.Do(func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			from, _, _ := net.SplitHostPort(request.RemoteAddr)
			fmt.Fprintf(answer, "%s %s", s.name, from)
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	s.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// get asks for a page from the station.
func (s *station) get(ctx context.Context, address string) (string, error) {
	return get(ctx, address, s.dial)
}

// getFromHost asks for a page from the host.
func getFromHost(ctx context.Context, address string) (string, error) {
	return get(ctx, address, (&net.Dialer{}).DialContext)
}

func get(
	ctx context.Context, address string, dial func(context.Context, string, string) (net.Conn, error),
) (string, error) {
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	page, err := io.ReadAll(answer.Body)
	return string(page), err
}

// refused is how long a test waits to be sure that packets are dropped: a connection takes less than a millisecond.
const refused = 250 * time.Millisecond

func (s *station) cannotGet(address string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), refused)
	defer cancel()
	if page, err := s.get(ctx, address); err == nil {
		s.Errorf("%s reached %s, which answered %q", s.name, address, page)
	}
}

func (s *station) mustGet(address, want string) {
	s.Helper()
	page, err := s.get(s.context(), address)
	if err != nil {
		s.Fatalf("%s can't reach %s: %v", s.name, address, err)
	}
	if page != want {
		s.Errorf("%s asked %s and got %q, want %q", s.name, address, page, want)
	}
}

func (w *world) hostMustGet(address, want string) {
	w.Helper()
	page, err := getFromHost(w.context(), address)
	if err != nil {
		w.Fatalf("the host can't reach %s: %v", address, err)
	}
	if page != want {
		w.Errorf("the host asked %s and got %q, want %q", address, page, want)
	}
}

// receive tells the size of the first datagram that arrives.
func (s *station) receive(address string) <-chan int {
	s.Helper()
	var socket net.PacketConn
	err := s.Do(func() (err error) {
		socket, err = net.ListenPacket("udp4", address)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	arrived, done := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 65536)
		if n, _, err := socket.ReadFrom(buffer); err == nil {
			arrived <- n
		}
	}()
	s.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	return arrived
}

// sendWhole sends a datagram that must not be fragmented.
func (s *station) sendWhole(address string, size int) error {
	connection, err := s.dial(s.context(), "udp4", address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	raw, err := connection.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	err = errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}), err)
	if err != nil {
		return err
	}
	_, err = connection.Write(make([]byte, size))
	return err
}

// background runs a program on the station until the test ends.
func (s *station) background(argv ...string) {
	s.Helper()
	command := exec.Command(argv[0], argv[1:]...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.Do(command.Start); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
}
