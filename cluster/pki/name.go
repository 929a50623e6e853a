package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Role is what a holder of a certificate does in the cluster.
type Role string

const (
	// RoleNode is a management node.
	RoleNode Role = "node"
	// RoleHost is the agent of a host.
	RoleHost Role = "host"
)

const scheme = "bulkhead"

var (
	labelPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	namePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
)

func (r Role) check() error {
	if r != RoleNode && r != RoleHost {
		return fmt.Errorf("role is %q, not %q or %q", string(r), string(RoleNode), string(RoleHost))
	}
	return nil
}

func checkClusterID(id string) error {
	if !labelPattern.MatchString(id) {
		return fmt.Errorf("cluster id is %q, not at most 63 of a-z, 0-9 and - with neither end a -", id)
	}
	return nil
}

// Name says who holds a certificate.
type Name struct {
	// ClusterID is the cluster that the holder belongs to.
	ClusterID string
	// Role of the holder there.
	Role Role
	// Name of the node or host; no two of a role share one.
	Name string
	// Admission says when in the history of the cluster the holder was let in under the name: another holder of the
	// same name has another one. At most 63 of a-z, 0-9 and -; empty in certificates from before there was one.
	Admission string
}

// Is reports whether both are the name of the same, in whatever admission.
func (n Name) Is(other Name) bool {
	n.Admission, other.Admission = "", ""
	return n == other
}

// Check reports what keeps n from being the name of a holder.
func (n Name) Check() error {
	if err := checkClusterID(n.ClusterID); err != nil {
		return err
	}
	if err := n.Role.check(); err != nil {
		return err
	}
	if !namePattern.MatchString(n.Name) {
		return fmt.Errorf("name of the %s is %q, not at most 63 of a-z, 0-9, - and . that begin and end with a-z or 0-9",
			n.Role, n.Name)
	}
	if n.Admission != "" && !labelPattern.MatchString(n.Admission) {
		return fmt.Errorf("admission of the %s is %.100q, not at most 63 of a-z, 0-9 and - with neither end a -",
			n.Role, n.Admission)
	}
	return nil
}

// String returns role and name, as in "node n1".
func (n Name) String() string { return string(n.Role) + " " + n.Name }

// URI returns n as it stands in a certificate: bulkhead://<cluster>/<role>/<name>. The admission is not in it: it is
// the serial number of the subject, where programs that know of none pass it over.
func (n Name) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: n.ClusterID, Path: "/" + string(n.Role) + "/" + n.Name}
}

// ParseName is the inverse of Name.URI. It takes nothing that URI does not make.
func ParseName(u *url.URL) (Name, error) {
	role, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	n := Name{ClusterID: u.Host, Role: Role(role), Name: name}
	if *u != *n.URI() {
		return Name{}, fmt.Errorf("%.200q is not %s://<cluster>/<role>/<name>", u, scheme)
	}
	if err := n.Check(); err != nil {
		return Name{}, fmt.Errorf("%q names nobody: %w", u, err)
	}
	return n, nil
}

// NameOf returns who a certificate says that it is of. Only a verified certificate says the truth. An error is
// ErrForeign.
func NameOf(cert *x509.Certificate) (Name, error) {
	if len(cert.URIs) != 1 {
		return Name{}, fmt.Errorf("%w: the certificate of %.100q has %d names of clusters in it, not one",
			ErrForeign, cert.Subject, len(cert.URIs))
	}
	n, err := ParseName(cert.URIs[0])
	if err == nil {
		n.Admission = cert.Subject.SerialNumber
		err = n.Check()
	}
	if err != nil {
		return Name{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return n, nil
}
