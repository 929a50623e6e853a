package attacks_test

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func dial(network, address string, multipath bool) error {
	dialer := net.Dialer{Timeout: time.Second}
	dialer.SetMultipathTCP(multipath)
	conn, err := dialer.Dial(network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// withSocket makes a socket and does something with it.
func withSocket(domain, kind, protocol int, do func(fd int) error) error {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return do(fd)
}

func socket(name string, stops []string, domain, kind, protocol int) attack {
	return attack{
		name: name, stops: stops, kernelToo: true, // families may be missing
		try: func(*hostile) error { return withSocket(domain, kind, protocol, func(int) error { return nil }) },
	}
}

func internetAttacks() []attack {
	ports := []string{sandbox.MechanismPorts, sandbox.MechanismNetwork}
	filter := []string{sandbox.MechanismSyscalls, sandbox.MechanismNetwork}
	return []attack{
		{
			name: "connect to a TCP port that is not declared", stops: ports,
			try: func(h *hostile) error { return dial("tcp", h.at.Refused, false) },
		},
		{name: "connect to it by sending at once (fast open)", stops: filter, kernelToo: true, try: fastOpen},
		{name: "connect to it by Multipath TCP", stops: filter, try: multipath},
		{
			name: "send UDP", stops: filter,
			try: func(h *hostile) error {
				return withSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, func(fd int) error {
					return unix.Sendto(fd, []byte("x"), 0, addressOf(h.at.Refused))
				})
			},
		},
		{
			name: "listen on a TCP port", stops: ports,
			try: func(*hostile) error {
				return withSocket(unix.AF_INET, unix.SOCK_STREAM, 0, func(fd int) error {
					return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
				})
			},
		},
		{
			name: "listen on TCP without a port", stops: filter,
			try: func(*hostile) error {
				return withSocket(unix.AF_INET, unix.SOCK_STREAM, 0, func(fd int) error { return unix.Listen(fd, 1) })
			},
		},
	}
}

func addressOf(address string) *unix.SockaddrInet4 {
	parsed, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return &unix.SockaddrInet4{}
	}
	return &unix.SockaddrInet4{Port: parsed.Port, Addr: [4]byte(parsed.IP.To4())}
}

func fastOpen(h *hostile) error {
	return withSocket(unix.AF_INET, unix.SOCK_STREAM, 0, func(fd int) error {
		if err := unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, addressOf(h.at.Refused)); err != nil {
			return err
		}
		_, err := unix.Getpeername(fd)
		return err
	})
}

func multipath(h *hostile) error {
	return withSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, func(fd int) error {
		return unix.Connect(fd, addressOf(h.at.Refused))
	})
}

func socketAttacks() []attack {
	filter := []string{sandbox.MechanismSyscalls}
	both := []string{sandbox.MechanismSyscalls, sandbox.MechanismCapabilities}
	return []attack{
		{
			name: "connect to a unix socket of others", stops: filter,
			try: func(h *hostile) error { return dial("unix", h.at.Stream, false) },
		},
		{
			name: "send to a unix socket of others by one of a pair", stops: filter,
			try: func(h *hostile) error { return sendByPair(h.at.Datagram) },
		},
		{
			name: "send to an abstract unix socket of others", try: func(h *hostile) error { return sendByPair(h.at.Abstract) },
			stops: append([]string{sandbox.MechanismScope, sandbox.MechanismNetwork}, filter...),
		},
		socket("make a raw socket", both, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		socket("make a packet socket", both, unix.AF_PACKET, unix.SOCK_RAW, 0),
		socket("make a packet socket in the old way", both, unix.AF_INET, unix.SOCK_PACKET, 0),
		socket("reach the hypervisor (vsock)", filter, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		socket("use the kernel's ciphers (AF_ALG)", filter, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		socket("make an SCTP socket", filter, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
		socket("ask for all sockets (netlink)", filter, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_INET_DIAG),
		socket("speak to the audit system (netlink)", filter, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),
		{
			name: "change the network (netlink)", stops: []string{sandbox.MechanismCapabilities}, try: changeNetwork,
		},
	}
}

// sendByPair needs no call that makes a socket with an address.
func sendByPair(path string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) }()
	if err := unix.Connect(pair[0], &unix.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	_, err = unix.Write(pair[0], []byte("x"))
	return err
}

// changeNetwork asks for the removal of an interface that is not there.
func changeNetwork(*hostile) error {
	return withSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, func(fd int) error {
		request := make([]byte, unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg)
		request[0], request[4], request[6] = byte(len(request)), unix.RTM_DELLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK
		request[unix.NLMSG_HDRLEN+4], request[unix.NLMSG_HDRLEN+7] = 0xff, 0x7f // its number
		if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		answer := make([]byte, 4096)
		n, _, err := unix.Recvfrom(fd, answer, 0)
		switch {
		case err != nil:
			return err
		case n < unix.NLMSG_HDRLEN+4:
			return errors.New("the answer is short")
		}
		code := int32(uint32(answer[16]) | uint32(answer[17])<<8 | uint32(answer[18])<<16 | uint32(answer[19])<<24)
		return refusedWith(unix.EPERM, func() error { return unix.Errno(-code) })
	})
}
