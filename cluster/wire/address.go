package wire

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// CheckAddress reports what keeps address, host:port, from being one where a member is reached: it must name a host,
// which 0.0.0.0 does not, and the number of a port.
func CheckAddress(address string) error {
	if err := CheckListen(address); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return errors.New("it names no host")
	}
	return nil
}

// CheckListen reports what keeps address, host:port, from being one to listen on: it must have the number of a port. It
// need not name a host.
func CheckListen(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("its port is %q, not a number from 1 to 65535", port)
	}
	return nil
}
