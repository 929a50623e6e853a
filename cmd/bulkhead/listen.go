package main

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// exposedRemedy is what to do about an API that others can listen to.
const exposedRemedy = "listen on loopback and put a proxy that speaks TLS before it"

// checkListen makes sure that a program could listen on an address, which a flag gave.
func checkListen(flag, address, example string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return cli.Usage(flag+": must be address:port, such as "+example+", not "+strconv.Quote(address), "")
	}
	if host == "" || host == "localhost" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if _, err := net.LookupHost(host); err != nil { //nolint:noctx // right before listening, which looks it up again
			return cli.Usage(flag+": "+strconv.Quote(host)+" is no address of this machine",
				"name an address such as 127.0.0.1")
		}
	}
	return nil
}

// exposed reports whether others than this machine can reach an address.
func exposed(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

// urlOf is where this machine reaches an API that listens on an address: one that
// means all of them is nothing to connect to.
func urlOf(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return "http://" + address.String()
	}
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}

// notStarted says what to do about a server that did not start.
func notStarted(config node.Config, err error) error {
	switch {
	case errors.Is(err, node.ErrAgent):
		return agentsDir(config.DataDir)
	case errors.Is(err, syscall.EADDRINUSE):
		return cli.Conflict("something listens on "+config.Listen+" already, perhaps another server",
			"stop it, or choose another address with --listen")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return cli.Usage("--listen: "+config.Listen+" is no address of this machine", "name an address such as "+
			node.DefaultListen)
	case errors.Is(err, persistence.ErrNewer), errors.Is(err, persistence.ErrOlder), errors.Is(err, cluster.ErrVersion):
		return cli.Conflict(err.Error(), "start it with the version that it ran last, or a newer one: an upgrade that was "+
			"finalized has no way back")
	case errors.Is(err, node.ErrRemoved):
		return cli.Conflict("the node of "+config.DataDir+" was removed from its cluster and can't come back as it is",
			"to have it back, move raft, state and cluster away from its data directory and let it join anew")
	case errors.Is(err, persistence.ErrLocked):
		return cli.Conflict("another server uses "+config.DataDir, "stop it, or choose another directory with --data-dir")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err.Error(), "run this as the user that the data directory belongs to, or choose another with "+
			"--data-dir; ports below 1024 are root's")
	}
	return err
}
