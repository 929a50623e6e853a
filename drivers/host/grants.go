package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Grant is a path on the host that a driver instance may reach, because a property of one of its resources names it.
type Grant struct {
	// Path is absolute. It must exist; links in it are followed.
	Path string `json:"path"`
	// ReadWrite permits to change what is below it. A directory that is empty or already belongs to the data group
	// is prepared for that: group data, mode 2770.
	ReadWrite bool `json:"read_write"`
}

// fileKey identifies what was at a path.
type fileKey struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// keysOf says what is at the paths of grants now; what is not there is left out.
func keysOf(grants []Grant) map[string]fileKey {
	keys := make(map[string]fileKey, len(grants))
	for _, grant := range grants {
		var stat unix.Stat_t
		if unix.Stat(grant.Path, &stat) == nil {
			keys[grant.Path] = fileKey{Device: stat.Dev, Inode: stat.Ino}
		}
	}
	return keys
}

// union adds grants to those there are. The result is sorted; a path that is both read and written is written.
func union(have, more []Grant) []Grant {
	write := map[string]bool{}
	for _, grant := range slices.Concat(have, more) {
		path := filepath.Clean(grant.Path)
		write[path] = write[path] || grant.ReadWrite
	}
	all := make([]Grant, 0, len(write))
	for path, readWrite := range write {
		all = append(all, Grant{Path: path, ReadWrite: readWrite})
	}
	slices.SortFunc(all, func(a, b Grant) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// covers tells whether every path of want is one of have or below one, with no more rights than that.
func covers(have, want []Grant) bool {
	for _, grant := range want {
		covered := slices.ContainsFunc(have, func(h Grant) bool {
			return within(filepath.Clean(grant.Path), h.Path) && (h.ReadWrite || !grant.ReadWrite)
		})
		if !covered {
			return false
		}
	}
	return true
}

// prepare checks a grant for a driver's user, makes the directory writable for it, and returns where it really is.
// Its errors carry faults.
func (h *Host) prepare(grant Grant, user *sandbox.User) (string, error) {
	if !filepath.IsAbs(grant.Path) {
		return "", sdk.Invalid("path-invalid", "", fmt.Sprintf("the path %q is not absolute", grant.Path),
			"give one that begins with /")
	}
	real, err := filepath.EvalSymlinks(grant.Path)
	if errors.Is(err, os.ErrNotExist) {
		return "", sdk.NotFound("path-missing", grant.Path+" is not there", "make the directory, or name another one")
	}
	if err != nil {
		return "", sdk.Denied("path-unreachable", fmt.Sprintf("%s can't be reached: %v", grant.Path, err), "")
	}
	if err := h.checkForbidden(grant.Path, real); err != nil {
		return "", err
	}
	if err := reachable(real, user); err != nil {
		return "", err
	}
	if !grant.ReadWrite {
		return real, nil
	}
	if !h.root || user == nil {
		return real, writable(real)
	}
	return real, h.giveToGroup(real, user)
}

// checkForbidden refuses what belongs to the system or to the server, under either name.
func (h *Host) checkForbidden(asked, real string) error {
	for _, path := range []string{filepath.Clean(asked), real} {
		if forbidden(path) {
			return sdk.Invalid("path-forbidden", "", asked+" belongs to the system", "use a directory of its own")
		}
		if h.isProtected(path) {
			return sdk.Invalid("path-forbidden", "", asked+" holds the server's own state", "use another directory")
		}
	}
	return nil
}

// isProtected tells whether a path belongs to the server's own state, or holds it.
func (h *Host) isProtected(path string) bool {
	return slices.ContainsFunc(h.protected, func(protected string) bool {
		return within(path, protected) || within(protected, path)
	})
}

// checkDeclared refuses a manifest that asks for the server's own state. Its own code may be in there.
func (h *Host) checkDeclared(m *Manifest) error {
	fields := map[string][]string{"permissions.read": m.Permissions.Read, "permissions.write": m.Permissions.Write}
	for i, program := range m.Permissions.Launch {
		fields[fmt.Sprintf("permissions.launch[%d].read", i)] = program.Read
	}
	var problems problems
	for field, paths := range fields {
		for i, path := range paths {
			own := m.Code != "" && within(path, m.Code)
			real, err := filepath.EvalSymlinks(path)
			held := h.isProtected(path) || err == nil && h.isProtected(real)
			problems.check(own || !held, fmt.Sprintf("%s[%d]", field, i),
				path+" holds the server's own state, which no driver is given")
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("manifest of %q: %w", m.Name, errors.Join(problems...))
	}
	return nil
}

// reachable checks that the user can enter all directories above path.
func reachable(path string, user *sandbox.User) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		var stat unix.Stat_t
		if err := unix.Stat(dir, &stat); err != nil {
			return sdk.Denied("path-unreachable", fmt.Sprintf("%s can't be reached: %v", path, err), "")
		}
		if user != nil && !mayEnter(&stat, user) {
			return sdk.Denied("path-unreachable",
				fmt.Sprintf("%s can't be reached: drivers have users of their own, which %s does not let in", path, dir),
				fmt.Sprintf("chmod o+x %s, or use a directory elsewhere", dir))
		}
		if dir == "/" {
			return nil
		}
	}
}

func mayEnter(stat *unix.Stat_t, user *sandbox.User) bool {
	switch {
	case stat.Uid == user.UID:
		return stat.Mode&0o100 != 0
	case stat.Gid == user.GID || slices.Contains(user.Groups, stat.Gid):
		return stat.Mode&0o010 != 0
	}
	return stat.Mode&0o001 != 0
}

// writable is the check without root, when driver and server are the same user.
func writable(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return sdk.Denied("path-not-writable", fmt.Sprintf("%s can't be written to: %v", path, err),
			"give it to the user the server runs as")
	}
	return nil
}

// giveToGroup makes a directory writable for the driver's group: the data group, if it is a member, else its own.
// What others have put content in is left alone.
func (h *Host) giveToGroup(path string, user *sandbox.User) error {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err != nil {
		return sdk.Denied("path-unreachable", fmt.Sprintf("%s can't be opened: %v", path, err), "")
	}
	dir := os.NewFile(uintptr(fd), path)
	defer func() { _ = dir.Close() }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return sdk.Invalid("path-not-a-directory", "", path+" is not a directory", "name a directory")
	}
	group := user.GID
	if len(user.Groups) > 0 {
		group = user.Groups[0]
	}
	if stat.Gid == group && stat.Mode&0o070 == 0o070 {
		return nil
	}
	empty, err := isEmpty(dir)
	if err != nil {
		return err
	}
	if !empty && stat.Gid != group {
		return sdk.Conflict("path-in-use", path+" is not empty and does not belong to the data group",
			fmt.Sprintf("empty it, or hand it over: chgrp -R %d %s && chmod 2770 %s", group, path, path))
	}
	if err := unix.Fchown(fd, -1, int(group)); err != nil {
		return sdk.Denied("path-not-writable", fmt.Sprintf("%s can't be given to group %d: %v", path, group, err),
			writableRemedy(err))
	}
	if err := unix.Fchmod(fd, 0o2770); err != nil {
		return sdk.Denied("path-not-writable", fmt.Sprintf("%s can't be opened to its group: %v", path, err),
			writableRemedy(err))
	}
	return nil
}

// writableRemedy is what to do about a directory that can't be handed over.
func writableRemedy(err error) string {
	if errors.Is(err, unix.EROFS) {
		return "mount the file system for writing, or name another directory"
	}
	return "name a directory of a file system whose owners and modes can be changed"
}

// isEmpty tells whether there is nothing in a directory but what mkfs puts there.
func isEmpty(dir *os.File) (bool, error) {
	names, err := dir.Readdirnames(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("listing %s: %w", dir.Name(), err)
	}
	return len(names) == 0 || len(names) == 1 && names[0] == "lost+found", nil
}
