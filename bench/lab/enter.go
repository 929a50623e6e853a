package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
)

// needed are the programs that a lab is made with, and the Debian packages they are in.
func needed() [][2]string {
	return [][2]string{
		{"ip", "iproute2"},
		{"tc", "iproute2"},
		{"nft", "nftables"},
		{"mkfs.ext4", "e2fsprogs"},
		{"e2fsck", "e2fsprogs"},
		{"losetup", "mount"},
		{"mount", "mount"},
	}
}

// Enter runs this program again, with the same arguments, inside a lab, waits for it and returns its exit code. In the
// program inside it returns at once, and inside is true. Nothing that runs inside outlives the program outside, however
// that ends. The error says what is missing when there can be no lab here. The program must call
// enclosure.RunFirstIfAsked before anything else.
func Enter() (exitCode int, inside bool, err error) {
	if enclosure.Inside() {
		return 0, true, joinGroups()
	}
	if err := missing(); err != nil {
		return 0, false, err
	}
	groups := newGroups()
	if err := os.Setenv(groupVariable, groups.name); err != nil {
		return 0, false, fmt.Errorf("naming the control groups: %w", err)
	}
	exitCode, err = enclosure.Again(enclosure.OwnNetwork)
	if err != nil {
		err = fmt.Errorf("making namespaces: %w; they need root and a kernel with pid, mount and network namespaces", err)
	}
	return exitCode, false, errors.Join(err, groups.remove())
}

func missing() error {
	if os.Geteuid() != 0 {
		return errors.New("chaos with several nodes needs root: it makes network namespaces and file systems")
	}
	for _, kind := range []string{"pid", "mnt", "net"} {
		if _, err := os.Stat("/proc/self/ns/" + kind); err != nil {
			return fmt.Errorf("this kernel has no %s namespaces, and chaos with several nodes needs them: %w", kind, err)
		}
	}
	for _, need := range needed() {
		if _, err := exec.LookPath(need[0]); err != nil {
			return fmt.Errorf("chaos with several nodes needs %s: install the package %s", need[0], need[1])
		}
	}
	return nil
}
