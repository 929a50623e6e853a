package apitest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// AddDriver installs a driver that understands properties.
func (z *Zone) AddDriver(product string, categories []string, properties ...resources.Property) string {
	return z.Add(&resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: product[slices.Index([]byte(product), '/')+1:]},
		Spec: resources.DriverSpec{
			Product: product, Version: "1.0.0", Categories: categories, BuiltIn: true, Enabled: true,
		},
		Status: resources.DriverStatus{Properties: properties},
	})
}

// Validate implements api.Drivers: it checks what is required and that nothing
// unknown is given.
func (z *Zone) Validate(_ context.Context, check resources.PropertyCheck) error {
	known, ok := z.propertiesOf(check.Product, check.Version, check.Scope)
	properties := check.Given
	if !ok {
		return &resources.Error{Class: resources.ClassNotFound, Code: "not-found", Message: "no such driver"}
	}
	p := resources.NewProblems("")
	for key, property := range known {
		if _, given := properties[key]; property.Required && !given {
			p.In(key).Add("required", "is required")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if _, ok := known[key]; !ok {
			p.In(key).Add("unknown-property", "is not known to the driver")
		}
	}
	return p.Err()
}

// Schema implements api.Drivers: it has the keys alone.
func (z *Zone) Schema(_ context.Context, d *resources.Driver, scope, languages string) (map[string]any, error) {
	known, ok := z.propertiesOf(d.Spec.Product, d.Spec.Version, scope)
	if !ok {
		return nil, &resources.Error{Class: resources.ClassNotFound, Code: "not-found", Message: "no such driver"}
	}
	properties := map[string]any{}
	for key, p := range known {
		properties[key] = map[string]any{"type": p.Type, "title": translated(p.Label, languages)}
	}
	return map[string]any{"type": "object", "properties": properties}, nil
}

// Translate implements api.Drivers: a text is followed by the languages asked for.
func (z *Zone) Translate(d *resources.Driver, languages string) []resources.Property {
	all := slices.Clone(d.Status.Properties)
	for i := range all {
		all[i].Label = translated(all[i].Label, languages)
	}
	return all
}

func translated(text, languages string) string {
	if languages == "" {
		return text
	}
	return text + " (" + languages + ")"
}

func (z *Zone) propertiesOf(product, version, scope string) (map[string]resources.Property, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range z.state {
		d, ok := r.(*resources.Driver)
		if !ok || d.Spec.Product != product || version != "" && d.Spec.Version != version {
			continue
		}
		known := map[string]resources.Property{}
		for _, p := range d.Status.Properties {
			if p.Scope == scope {
				known[p.Key] = p
			}
		}
		return known, true
	}
	return nil, false
}

// Spool implements api.Uploads.
func (z *Zone) Spool(
	_ context.Context, id resources.TemplateID, r io.Reader, maxBytes int64,
) (path string, n int64, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return "", 0, fmt.Errorf("spooling %s: %w", id, err)
	}
	if int64(len(data)) > maxBytes {
		return "", 0, &resources.Error{
			Class: resources.ClassTooLarge, Code: "content-too-large", Message: "the content is too large", Remedy: "send less",
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.uploads++
	path = fmt.Sprintf("/spool/%s.%d", id, z.uploads)
	z.spooled[path] = data
	return path, int64(len(data)), nil
}

// Discard implements api.Uploads.
func (z *Zone) Discard(_ context.Context, path string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.spooled, path)
	return nil
}

// Spooled returns what was uploaded, by path.
func (z *Zone) Spooled() map[string][]byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.spooled)
}

// Console implements door.Engine: what is typed comes back behind "> ".
func (z *Zone) Console(_ context.Context, id resources.MachineID, kind string) (io.ReadWriteCloser, error) {
	if _, _, err := z.Get(context.Background(), resources.Ref{Kind: resources.KindMachine, ID: string(id)}); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	z.mu.Lock()
	z.consoles++
	z.mu.Unlock()
	go echo(far, kind, func() {
		z.mu.Lock()
		z.consoles--
		z.mu.Unlock()
	})
	return near, nil
}

// Consoles is how many are open.
func (z *Zone) Consoles() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.consoles
}

func echo(c net.Conn, kind string, done func()) {
	defer done()
	defer c.Close()
	if _, err := c.Write([]byte(kind + " console\r\n")); err != nil {
		return
	}
	buffer := make([]byte, 1024)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		if _, err := c.Write(append([]byte("> "), buffer[:n]...)); err != nil {
			return
		}
	}
}

// BackupContent is what the zone's backup holds.
const BackupContent = "a backup of the zone"

// SealedFor begins a backup that was asked for with recipients, whom it names.
const SealedFor = "sealed for "

// CheckRecipients implements api.Backups. Recipients begin with "age1" or "ssh-" here.
func (z *Zone) CheckRecipients(recipients []string) error {
	for i, r := range recipients {
		if !strings.HasPrefix(r, "age1") && !strings.HasPrefix(r, "ssh-") {
			return &resources.Error{
				Class: resources.ClassInvalid, Code: "validation-failed", Message: "not these recipients",
				Remedy: "give public keys", Fields: []resources.FieldError{
					{Pointer: "/" + strconv.Itoa(i), Code: "bad-recipient", Message: "is of no known kind"},
				},
			}
		}
	}
	return nil
}

// Backup implements api.Backups. It encrypts nothing.
func (z *Zone) Backup(_ context.Context, w io.Writer, recipients []string) error {
	content := BackupContent
	if len(recipients) > 0 {
		content = SealedFor + strings.Join(recipients, ",")
	}
	_, err := io.WriteString(w, content)
	return err
}

// A content that is longer than longestVersion stands for a version by its digest, and for a name by the beginning of
// that.
const (
	longestVersion = 64
	shortVersion   = 8
)

// TakeArchive implements api.Archives: what is sent is the version, of the product a/taken; "bad" is none.
func (z *Zone) TakeArchive(_ context.Context, from io.Reader) (*resources.Driver, error) {
	data, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	if string(data) == "bad" {
		return nil, &resources.Error{Class: resources.ClassInvalid, Code: "archive-invalid", Message: "it is no archive"}
	}
	version := string(data)
	if len(data) > longestVersion {
		version = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	z.mu.Lock()
	first := len(z.versionsOf("a/taken")) == 0
	z.mu.Unlock()
	return &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: "a.taken-" + version[:min(len(version), shortVersion)]},
		Spec: resources.DriverSpec{
			Product: "a/taken", Version: version, Categories: []string{"storage"}, Enabled: true, Current: first,
			Digest: "sha256:x",
		},
		Status: resources.DriverStatus{Current: first, HandleWrites: 1},
	}, nil
}

// InstalledFrom implements api.Archives.
func (z *Zone) InstalledFrom(_ context.Context, d *resources.Driver) (*resources.Driver, error) {
	return d, nil
}

// decided refuses what the life of a version of a driver does not allow. The caller holds the lock.
func (z *Zone) decided(s resources.Submission) error {
	facts := z.InTheWay
	next, _ := s.Resource.(*resources.Driver)
	was, there := z.state[s.Target].(*resources.Driver)
	facts.Driver, facts.There = was, there
	var event resources.DriverEvent
	switch {
	case s.Target.Kind != resources.KindDriver:
		return nil
	case s.Action == "create":
		facts.Driver, event = next, resources.DriverInstall
	case s.Action == "delete":
		event = resources.DriverUninstall
	case next.Spec.Enabled != was.Spec.Enabled && next.Spec.Enabled:
		event = resources.DriverEnable
	case next.Spec.Enabled != was.Spec.Enabled:
		event = resources.DriverDisable
	case next.Spec.Current && !was.Spec.Current:
		event = resources.DriverMakeCurrent
	default:
		return nil
	}
	_, err := facts.Decide(event)
	return err
}
