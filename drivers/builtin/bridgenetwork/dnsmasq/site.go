package dnsmasq

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// dnsmasq runs as another user.
const (
	readableDirectory = 0o755
	readableFile      = 0o644
)

// Site is the directory with the files of one network. dnsmasq runs as another user and must be able to read them;
// there is no secret in them. What is written survives neither power loss nor needs to: all of it can be made again.
type Site struct {
	path string
}

// OpenSite returns the site at path; applying a plan makes it.
func OpenSite(path string) *Site {
	return &Site{path: path}
}

// Path returns the site's directory.
func (s *Site) Path() string { return s.path }

// DHCPConfig returns the path of the DHCP process's configuration.
func (s *Site) DHCPConfig() string { return filepath.Join(s.path, "dhcp.conf") }

// DNSConfig returns the path of the DNS process's configuration.
func (s *Site) DNSConfig() string { return filepath.Join(s.path, "dns.conf") }

func (s *Site) leases() string { return filepath.Join(s.path, "leases") }
func (s *Site) names() string  { return filepath.Join(s.path, "names") }

// Stale says which processes still serve what the files no longer say.
type Stale struct {
	DHCP, DNS bool
}

// Plan finds out what has to change so that the site serves settings to exactly these hosts. The changes wait in the
// plan, because a process that can't follow a change must be stopped before the change is made: then whoever comes
// after a crash in between finds the change still to be made.
func (s *Site) Plan(settings Settings, hosts []Host) (*Plan, error) {
	wanted := s.entries(settings.Domain, hosts)
	wanted[s.DHCPConfig()] = settings.dhcp(s.leases())
	wanted[s.DNSConfig()] = settings.dns(s.names())
	return s.compare(wanted)
}

// PlanHosts is Plan for the hosts alone; the configuration stays as it is. The error wraps fs.ErrNotExist when there
// is none.
func (s *Site) PlanHosts(domain string, hosts []Host) (*Plan, error) {
	for _, path := range []string{s.DHCPConfig(), s.DNSConfig()} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("looking for the configuration of dnsmasq: %w", err)
		}
	}
	return s.compare(s.entries(domain, hosts))
}

func (s *Site) entries(domain string, hosts []Host) map[string]string {
	wanted := map[string]string{}
	for _, host := range hosts {
		wanted[filepath.Join(s.leases(), host.Key)] = host.lease()
		wanted[filepath.Join(s.names(), host.Key)] = host.names(domain)
	}
	return wanted
}

func (s *Site) compare(wanted map[string]string) (*Plan, error) {
	plan := &Plan{site: s, write: map[string]string{}}
	for path, content := range wanted {
		there, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading what dnsmasq serves: %w", err)
		}
		if err == nil && bytes.Equal(there, []byte(content)) {
			continue
		}
		plan.write[path] = content
		plan.note(path, err == nil)
	}
	return plan, plan.findLeftovers(wanted)
}

// Remove takes the site away. Removing what is gone succeeds.
func (s *Site) Remove() error {
	if err := os.RemoveAll(s.path); err != nil {
		return fmt.Errorf("removing what dnsmasq served: %w", err)
	}
	return nil
}

// Plan is a change of a site that has not been made yet.
type Plan struct {
	site   *Site
	write  map[string]string
	remove []string
	stale  Stale
}

// Stale says which processes must be stopped before Apply and started after it.
func (p *Plan) Stale() Stale { return p.stale }

// note remembers who can't follow a change by itself. New files are read as they come; the DHCP process forgets
// nothing it has read; nobody reads a configuration twice.
func (p *Plan) note(path string, replaced bool) {
	switch filepath.Dir(path) {
	case p.site.leases():
		p.stale.DHCP = p.stale.DHCP || replaced
	case p.site.path:
		p.stale.DHCP = p.stale.DHCP || path == p.site.DHCPConfig()
		p.stale.DNS = p.stale.DNS || path == p.site.DNSConfig()
	}
}

func (p *Plan) findLeftovers(wanted map[string]string) error {
	for _, directory := range []string{p.site.leases(), p.site.names()} {
		entries, err := os.ReadDir(directory)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("listing what dnsmasq serves: %w", err)
		}
		for _, entry := range entries {
			path := filepath.Join(directory, entry.Name())
			if _, keep := wanted[path]; keep {
				continue
			}
			p.remove = append(p.remove, path)
			p.note(path, true)
		}
	}
	slices.Sort(p.remove)
	return nil
}

// Apply makes the change.
func (p *Plan) Apply() error {
	for _, directory := range []string{p.site.path, p.site.leases(), p.site.names()} {
		if err := ensureDirectory(directory); err != nil {
			return err
		}
	}
	for _, path := range p.remove {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an entry of dnsmasq: %w", err)
		}
	}
	for path, content := range p.write {
		if err := replace(path, content); err != nil {
			return err
		}
	}
	return nil
}

// ensureDirectory makes a directory that others may read, whatever the umask is. One that is right already may belong
// to another user: that of the version before.
func ensureDirectory(path string) error {
	if err := os.MkdirAll(path, readableDirectory); err != nil {
		return fmt.Errorf("making a directory for dnsmasq: %w", err)
	}
	made, err := os.Stat(path)
	if err == nil && made.Mode().Perm() != readableDirectory {
		err = os.Chmod(path, readableDirectory)
	}
	if err != nil {
		return fmt.Errorf("opening a directory to dnsmasq: %w", err)
	}
	return nil
}

// replace writes the file under a name that dnsmasq passes over (it begins with a dot) and then moves it in place, so
// that half a file is never read.
func replace(path, content string) error {
	draft := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) { // of who was killed
		return fmt.Errorf("removing a draft for dnsmasq: %w", err)
	}
	if err := os.WriteFile(draft, []byte(content), readableFile); err != nil {
		return fmt.Errorf("writing an entry of dnsmasq: %w", err)
	}
	if err := os.Chmod(draft, readableFile); err != nil { // whatever the umask is
		return fmt.Errorf("opening an entry to dnsmasq: %w", err)
	}
	if err := os.Rename(draft, path); err != nil {
		return fmt.Errorf("putting an entry of dnsmasq in place: %w", err)
	}
	return nil
}
