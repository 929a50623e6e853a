package units

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// spec confines a unit to what its launch asks for and the policy permits.
func (l *Launcher) spec(launch *driverpb.Launch, program Program) (sandbox.Spec, error) {
	read, write, err := l.paths(launch)
	if err != nil {
		return sandbox.Spec{}, err
	}
	dir, err := l.workDir(launch.GetWorkDir())
	if err != nil {
		return sandbox.Spec{}, err
	}
	if dir != "" {
		write = append(write, dir)
	}
	exec, err := executables(program)
	if err != nil {
		return sandbox.Spec{}, err
	}
	user, err := l.userFor(launch.GetDevices())
	if err != nil {
		return sandbox.Spec{}, err
	}
	home := dir
	if home == "" {
		home = "/"
	}
	return sandbox.Spec{
		Argv: launch.GetArgv(), Dir: home, Umask: 0o007, User: user,
		Env:          []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + home, "TMPDIR=" + home},
		Capabilities: launch.GetCapabilities(),
		Read:         slices.Concat(sandbox.SystemRead(), []string{"/etc/passwd", "/etc/group"}, program.Read),
		PinnedRead:   read, PinnedWrite: write, Exec: exec, Devices: launch.GetDevices(),
		NetNamespace: launch.GetNetNamespace(), AllTCP: program.Network, UDP: program.Network,
		UnixSockets: true, Watch: true, Minimum: l.set.config.Minimum,
	}, nil
}

func executables(program Program) ([]string, error) {
	var exec []string
	for n, path := range append([]string{program.Path}, program.Exec...) {
		paths, err := sandbox.ExecPaths(path)
		if n > 0 && errors.Is(err, os.ErrNotExist) {
			continue // what it may execute need not be there
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil, sdk.NotFound("program-missing", fmt.Sprintf("%s is not there", path), "install "+filepath.Base(path))
		}
		if err != nil {
			return nil, err
		}
		exec = append(exec, paths...)
	}
	return exec, nil
}

// paths resolves what the unit wants to reach and checks that the driver itself may.
func (l *Launcher) paths(launch *driverpb.Launch) (read, write []string, err error) {
	reachable := slices.Concat(l.policy.ReadRoots, l.policy.WriteRoots)
	for _, path := range launch.GetReadPaths() {
		if path, err = resolve(path, reachable); err != nil {
			return nil, nil, err
		}
		read = append(read, path)
	}
	for _, path := range launch.GetWritePaths() {
		if path, err = resolve(path, l.policy.WriteRoots); err != nil {
			return nil, nil, err
		}
		write = append(write, path)
	}
	return read, write, nil
}

// resolve follows symbolic links to the end, and demands that this is in one of the roots. The driver may put another
// link on the way meanwhile: the stage opens the answer without following any (see sandbox.Spec).
func resolve(path string, roots []string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", sdk.Invalid("path-invalid", "", fmt.Sprintf("the path %q is not absolute", path), "")
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", sdk.NotFound("path-missing", fmt.Sprintf("%s is not there", path), "")
	}
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", path, err)
	}
	if _, _, ok := rootOf(real, roots); !ok {
		return "", sdk.Denied("path-not-granted", fmt.Sprintf("the driver itself may not reach %s", path), "")
	}
	return real, nil
}

// rootOf finds the root that holds path and the rest of path below it.
func rootOf(path string, roots []string) (root, rest string, ok bool) {
	for _, root := range roots {
		real, err := filepath.EvalSymlinks(root)
		if err != nil {
			continue
		}
		if path == real {
			return real, ".", true
		}
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(real, "/")+"/"); ok {
			return real, rest, true
		}
	}
	return "", "", false
}

// workDir makes the unit's directory below a root the driver may write to and gives it to the unit's user. The
// driver may rearrange what is in the root meanwhile; no link of its making is followed.
func (l *Launcher) workDir(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", sdk.Invalid("path-invalid", "/work_dir", fmt.Sprintf("%q is no clean absolute path", path), "")
	}
	root, rest, ok := rootOf(path, l.policy.WriteRoots)
	if !ok {
		for _, written := range l.policy.WriteRoots { // the root may be written with a link in it
			if tail, cut := strings.CutPrefix(path, written+"/"); cut {
				real, err := filepath.EvalSymlinks(written)
				if err != nil {
					return "", fmt.Errorf("resolving %s: %w", written, err)
				}
				root, rest, ok = real, tail, true
			}
		}
	}
	if !ok || rest == "." {
		return "", sdk.Denied("path-not-granted", fmt.Sprintf("the driver may not make %s", path),
			"use a directory below the driver's work directory or a path granted for writing")
	}
	if err := l.makeWorkDir(root, rest); err != nil {
		return "", fmt.Errorf("making work directory %s: %w", path, err)
	}
	return filepath.Join(root, rest), nil
}

func (l *Launcher) makeWorkDir(root, rest string) error {
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(rest, "/") {
		next, err := enterDir(fd, name)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
		fd = next
	}
	defer func() { _ = unix.Close(fd) }()
	if l.policy.User == nil {
		return nil
	}
	if err := unix.Fchown(fd, int(l.policy.User.UID), int(l.policy.User.GID)); err != nil {
		return err
	}
	return unix.Fchmod(fd, 0o2770)
}

// enterDir opens a directory in dir; a link in its place is refused. When it is missing it is made, with owner and
// mode of dir, so that the driver can tidy up after itself.
func enterDir(dir int, name string) (int, error) {
	err := unix.Mkdirat(dir, name, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	fd, err := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil || !made {
		return fd, err
	}
	var parent unix.Stat_t
	if err = unix.Fstat(dir, &parent); err == nil {
		err = unix.Fchown(fd, int(parent.Uid), int(parent.Gid))
	}
	if err == nil {
		err = unix.Fchmod(fd, parent.Mode&0o7777)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// userFor adds the groups of devices to the unit's user.
func (l *Launcher) userFor(devices []string) (*sandbox.User, error) {
	if l.policy.User == nil {
		return nil, nil
	}
	user := *l.policy.User
	user.Groups = slices.Clone(user.Groups)
	for _, path := range devices {
		group, err := openDevice(path, user.GID)
		if err != nil {
			return nil, err
		}
		if group != user.GID && group != 0 && !slices.Contains(user.Groups, group) {
			user.Groups = append(user.Groups, group)
		}
	}
	return &user, nil
}

const groupReadWrite, othersReadWrite = 0o060, 0o006

// openDevice says which group may open a device. One that root keeps for itself, as on machines without udev, is
// opened to our group, as udev would to its own.
func openDevice(path string, ours uint32) (group uint32, err error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return 0, sdk.NotFound("device-missing", fmt.Sprintf("%s is not there: %v", path, err), "load its kernel module")
	}
	if kind := stat.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return 0, sdk.Denied("not-a-device", path+" is no device", "")
	}
	switch {
	case stat.Mode&othersReadWrite == othersReadWrite:
		return 0, nil
	case stat.Gid != 0 && stat.Mode&groupReadWrite == groupReadWrite:
		return stat.Gid, nil
	case stat.Gid != 0:
		return 0, sdk.Denied("device-closed", path+" can be opened by root only", "chmod g+rw "+path)
	}
	if err := unix.Lchown(path, -1, int(ours)); err != nil {
		return 0, sdk.Denied("device-closed", fmt.Sprintf("%s can't be opened to the guests' group: %v", path, err), "")
	}
	if err := unix.Chmod(path, stat.Mode&0o7777|groupReadWrite); err != nil {
		return 0, sdk.Denied("device-closed", fmt.Sprintf("%s can't be opened to the guests' group: %v", path, err), "")
	}
	return ours, nil
}
