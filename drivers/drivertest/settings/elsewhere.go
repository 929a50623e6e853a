package settings

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

func (s Settings) images(described *driverpb.DescribeReply) (*drivertest.Images, error) {
	store, err := complete("images.store", "image-store", s.Images.Store, s.Images.Secrets, described.GetProperties())
	if err != nil {
		return nil, err
	}
	good := s.Images.Good
	sources := described.GetCapabilities().GetImageSources()
	upload := !slices.Contains(sources, "file")
	if good == nil && upload && !slices.Contains(sources, "upload") {
		return nil, errors.New("images.good: the driver takes templates from URLs only: name one that can be imported")
	}
	made := &drivertest.Images{
		Store: properties(store), Secrets: s.Images.Secrets, BadStores: bad(store, s.Images.BadStores),
		Good: func(t drivertest.T) *driverpb.ImportTemplateRequest {
			if good == nil {
				return ownTemplate(t, upload)
			}
			return good.request(t)
		},
	}
	for _, b := range s.Images.Bad {
		class, _ := classOf(b.Class) // checked when it was read
		made.Bad = append(made.Bad, drivertest.BadImport{
			Name: b.Name, Class: class, Code: b.Code, Source: b.request,
		})
	}
	return made, nil
}

func (source Template) request(t drivertest.T) *driverpb.ImportTemplateRequest {
	t.Helper()
	made := &driverpb.ImportTemplateRequest{
		Format: source.Format, Checksum: source.Checksum,
		Egress: &driverpb.EgressPolicy{AllowCidrs: source.AllowCIDRs, MaxRedirects: 3},
	}
	switch {
	case source.URL != "":
		made.Source = &driverpb.ImportTemplateRequest_Url{Url: source.URL}
	case source.File != "":
		made.Source = &driverpb.ImportTemplateRequest_File{File: replaced(source.File, lazyDir(t), "")}
	}
	return made
}

// ownTemplate is a small raw disk.
func ownTemplate(t drivertest.T, upload bool) *driverpb.ImportTemplateRequest {
	t.Helper()
	content := bytes.Repeat([]byte("bulkhead"), 1<<17)
	file := filepath.Join(t.TempDir(), "template.raw")
	if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // the driver has a user of its own
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	made := &driverpb.ImportTemplateRequest{
		Format: "raw", Checksum: "sha256:" + hex.EncodeToString(sum[:]),
		Source: &driverpb.ImportTemplateRequest_File{File: file},
	}
	if upload {
		made.Source = &driverpb.ImportTemplateRequest_Upload{Upload: file}
	}
	return made
}

func (s Settings) networks(described *driverpb.DescribeReply) (*drivertest.Networks, error) {
	given, err := complete(
		"networks.properties", "network", s.Networks.Properties, s.Networks.Secrets, described.GetProperties())
	if err != nil {
		return nil, err
	}
	text := s.Networks.Spec
	if len(text) == 0 {
		mode := "isolated"
		if modes := described.GetCapabilities().GetNetworkModes(); len(modes) > 0 {
			mode = modes[0]
		}
		text = fmt.Appendf(nil, `{"mode":%q,"cidr":"10.213.{n}.0/24"}`, mode)
	}
	spec := &driverpb.NetworkSpec{}
	if err := wellFormed("networks.spec", numbered(text, 0), spec); err != nil {
		return nil, err
	}
	if _, err := netip.ParsePrefix(spec.GetCidr()); err != nil {
		return nil, fmt.Errorf("networks.spec.cidr: %w", err)
	}
	var made atomic.Uint64
	networks := &drivertest.Networks{
		Properties: properties(given), Secrets: s.Networks.Secrets, Nic: nicOf,
		Spec: func(t drivertest.T) *driverpb.NetworkSpec {
			return message(t, numbered(text, made.Add(1)), "", &driverpb.NetworkSpec{})
		},
	}
	for i, b := range s.Networks.Bad {
		if err := wellFormed(fmt.Sprintf("networks.bad[%d].spec", i), b.Spec, &driverpb.NetworkSpec{}); err != nil {
			return nil, err
		}
		networks.Bad = append(networks.Bad, drivertest.BadNetwork{
			Name: b.Name, Field: b.Field,
			Spec: func(t drivertest.T) *driverpb.NetworkSpec { return message(t, b.Spec, "", &driverpb.NetworkSpec{}) },
		})
	}
	return networks, nil
}

// numbered replaces {n}, which makes networks that do not overlap.
func numbered(text []byte, n uint64) []byte {
	return bytes.ReplaceAll(text, []byte("{n}"), strconv.AppendUint(nil, n%256, 10))
}

// nicOf is the nth nic of a network: it has the address that many after the first ten.
func nicOf(t drivertest.T, spec *driverpb.NetworkSpec, n int) *driverpb.NicSpec {
	t.Helper()
	prefix, err := netip.ParsePrefix(spec.GetCidr())
	if err != nil {
		t.Fatal(err)
	}
	address := prefix.Masked().Addr()
	for range 10 + n {
		address = address.Next()
	}
	return &driverpb.NicSpec{
		Machine: &driverpb.Ref{Kind: "machine", Id: fmt.Sprintf("mac-kit%d", n)},
		Mac:     fmt.Sprintf("02:00:5e:10:00:%02x", n), Address: address.String(), Hostname: fmt.Sprintf("kit-%d", n),
	}
}

func (s Settings) outOfBand(described *driverpb.DescribeReply) (*drivertest.OutOfBand, error) {
	host, err := complete("outOfBand.host", "host", s.OutOfBand.Host, s.OutOfBand.Secrets, described.GetProperties())
	if err != nil {
		return nil, err
	}
	made := &drivertest.OutOfBand{
		Host: properties(host), Secrets: s.OutOfBand.Secrets, Refused: bad(host, s.OutOfBand.Refused), Shared: true,
	}
	if s.OutOfBand.Unconfirmed != nil {
		made.Unconfirmed = properties(merged(host, s.OutOfBand.Unconfirmed))
	}
	if len(s.OutOfBand.Powered) > 0 {
		made.Powered = poweredBy(s.OutOfBand.Powered)
	}
	return made, nil
}
