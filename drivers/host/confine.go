package host

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/units"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// namespaces says which ones the process gets, and notes them in the spec's report.
func (i *Instance) namespaces(spec *sandbox.Spec) uintptr {
	if !i.host.root {
		for _, mechanism := range []string{sandbox.MechanismPIDs, sandbox.MechanismIPC} {
			spec.Prior.Miss(mechanism, "the server is not root", "run the server as root")
		}
		return 0
	}
	flags := uintptr(unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	spec.Prior.Apply(sandbox.MechanismPIDs)
	spec.Prior.Apply(sandbox.MechanismIPC)
	if i.manifest.Permissions.usesNetwork() {
		return flags
	}
	spec.Prior.Apply(sandbox.MechanismNetwork)
	return flags | unix.CLONE_NEWNET
}

func (p *Permissions) usesNetwork() bool {
	return p.HostNetwork || p.UDP || len(p.TCPConnect)+len(p.TCPListen) > 0 ||
		slices.Contains(p.Capabilities, "net_admin") || slices.Contains(p.Capabilities, "net_raw") ||
		slices.Contains(p.Capabilities, "sys_admin")
}

// spec confines the driver to its manifest and its grants.
func (i *Instance) spec(setup Setup, user *sandbox.User, token string) (sandbox.Spec, error) {
	h, m := i.host, &i.manifest
	work := h.layout.workDir(m.Name)
	read, write, err := i.declared(user)
	if err != nil {
		return sandbox.Spec{}, err
	}
	pinnedRead, pinnedWrite, err := i.granted(setup, user)
	if err != nil {
		return sandbox.Spec{}, err
	}
	exec, err := executables(append([]string{m.Command[0]}, m.Permissions.Exec...))
	if err != nil {
		return sandbox.Spec{}, err
	}
	spec := sandbox.Spec{
		Argv: m.Command, Env: i.environment(work, token), Dir: work, Umask: 0o007, User: user,
		Capabilities: m.Permissions.Capabilities,
		Read:         slices.Concat(sandbox.SystemRead(), read),
		Write:        append(write, work), Exec: exec, Devices: m.Permissions.Devices,
		PinnedRead: pinnedRead, PinnedWrite: pinnedWrite,
		TCPConnect: m.Permissions.TCPConnect, TCPListen: m.Permissions.TCPListen, UDP: m.Permissions.UDP,
		UnixSockets: m.Permissions.UnixSockets,
		Limits: sandbox.Limits{
			DataBytes: m.Limits.MemoryBytes, OpenFiles: m.Limits.OpenFiles, FileBytes: m.Limits.FileBytes,
		},
		Minimum: stronger(h.config.Minimum, m.Isolation), Require: m.Require,
	}
	if user != nil {
		spec.Limits.Processes = 2 * m.Limits.Processes // counted per user, and two versions may run in a swap
	}
	for _, missing := range h.cgroups.Missing() {
		spec.Prior.Miss(missing.Mechanism, missing.Reason, missing.Remedy)
	}
	for _, mechanism := range []string{cgroup.Kill, cgroup.Memory, cgroup.Processes} {
		if h.cgroups.Able(mechanism) {
			spec.Prior.Apply(mechanism)
		}
	}
	return spec, nil
}

func stronger(a, b sandbox.Level) sandbox.Level {
	if a.AtLeast(b) {
		return a
	}
	return b
}

// usable leaves out the grants that can't be had now.
func (i *Instance) usable(grants []Grant) []Grant {
	user, err := i.host.userOf(&i.manifest)
	if err != nil {
		return nil
	}
	var usable []Grant
	for _, grant := range grants {
		if _, err := i.host.prepare(grant, user); err != nil {
			i.log().Warn("granted path is left out", slog.String("path", grant.Path), slog.String("error", err.Error()))
			continue
		}
		usable = append(usable, grant)
	}
	return usable
}

// declared lists what the driver may read and write by its manifest, besides the system's libraries and its work
// directory.
func (i *Instance) declared(user *sandbox.User) (read, write []string, err error) {
	m := &i.manifest
	read = append(slices.Clone(m.Permissions.Read), i.host.layout.unitLogs(m.Name))
	if m.Code != "" {
		read = append(read, m.Code)
	}
	for _, path := range m.Permissions.Write {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, nil, fmt.Errorf("making a directory the driver declared: %w", err)
		}
		if user != nil {
			if err := openToGroup(path, user.GID); err != nil {
				return nil, nil, err
			}
		}
		write = append(write, path)
	}
	return read, write, nil
}

// granted lists what the driver may read and write because resources bound to it name it. One grant may be below
// another, where the driver can put links.
func (i *Instance) granted(setup Setup, user *sandbox.User) (read, write []string, err error) {
	for _, grant := range setup.Grants {
		real, err := i.host.prepare(grant, user)
		if err != nil {
			return nil, nil, err
		}
		if grant.ReadWrite {
			write = append(write, real)
		} else {
			read = append(read, real)
		}
	}
	return read, write, nil
}

// openToGroup lets a driver write to a directory that its manifest declares and that root keeps for itself.
func openToGroup(path string, gid uint32) error {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if stat.Gid != 0 || stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil // somebody arranged it already
	}
	if err := unix.Lchown(path, -1, int(gid)); err != nil {
		return fmt.Errorf("opening %s to the driver: %w", path, err)
	}
	if err := unix.Chmod(path, stat.Mode&0o7777|0o070); err != nil {
		return fmt.Errorf("opening %s to the driver: %w", path, err)
	}
	return nil
}

// executables lists what must be executable for programs to run, the driver's own
// first. One that a driver may execute and the machine does not have is left out:
// a manifest names all the places a program may be in.
func executables(programs []string) ([]string, error) {
	var exec []string
	for n, path := range programs {
		paths, err := sandbox.ExecPaths(path)
		if n > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		exec = append(exec, paths...)
	}
	return exec, nil
}

// environment is all a driver gets; nothing of the server's own.
func (i *Instance) environment(work, token string) []string {
	const goShare, goWhole = 4, 5 // Go collects before the limit kills
	return []string{
		sdk.EnvInstance + "=" + i.name,
		sdk.EnvWorkDir + "=" + work,
		sdk.EnvToken + "=" + token,
		sdk.EnvServerUID + "=" + strconv.Itoa(os.Geteuid()),
		sdk.EnvOrphanTTL + "=" + i.manifest.OrphanTTL.String(),
		sdk.EnvLogLevel + "=" + i.host.config.DriverLogLevel.String(),
		"GOMEMLIMIT=" + strconv.FormatUint(i.manifest.Limits.MemoryBytes/goWhole*goShare, 10),
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + work, "TMPDIR=" + work,
	}
}

// launcher answers the driver's requests to its host.
func (h *Host) launcher(m *Manifest, current *run) sdk.Host {
	policy := units.Policy{
		Programs:   m.Permissions.Launch,
		MostUnits:  int(m.Limits.Units),
		ReadRoots:  slices.Clone(m.Permissions.Read),
		WriteRoots: append(slices.Clone(m.Permissions.Write), h.layout.workDir(m.Name)),
	}
	for _, grant := range current.record.Grants {
		if grant.ReadWrite {
			policy.WriteRoots = append(policy.WriteRoots, grant.Path)
		} else {
			policy.ReadRoots = append(policy.ReadRoots, grant.Path)
		}
	}
	if h.root {
		policy.LogGID = current.record.UID
		policy.User = &sandbox.User{UID: current.record.UID, GID: current.record.UID}
		if m.DataGroup {
			policy.User = &sandbox.User{UID: h.config.GuestUID, GID: h.config.DataGID}
		}
	}
	return h.units.For(fileName(m.Name), policy)
}
