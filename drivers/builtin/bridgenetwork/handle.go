package bridgenetwork

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// handleVersion is the version of the handles this driver writes, and the only one it reads.
const handleVersion = 1

// Limits of the rules in a handle: the first leaves room for the rest below sdk.MaxHandleBytes after base64, the
// second bounds what a handle may unpack to.
const (
	maxPackedRules   = 40 << 10
	maxUnpackedRules = sdk.MaxMessageBytes
)

// networkHandle is all that is needed to make the network again on an empty host.
type networkHandle struct {
	Mode      string       `json:"mode"`
	CIDR      netip.Prefix `json:"cidr"`
	Gateway   netip.Addr   `json:"gateway"`
	Upstreams []netip.Addr `json:"upstreams,omitempty"`
	Domain    string       `json:"domain,omitempty"`
	MTU       uint32       `json:"mtu"`
	DHCP      bool         `json:"dhcp"`
	DNS       bool         `json:"dns"`
	Lease     uint32       `json:"lease"`
	// Transit is the subnet to the host; invalid in isolated networks.
	Transit netip.Prefix `json:"transit,omitzero"`
	// Rules is a packed RulesRequest with the rules in force.
	Rules []byte `json:"rules,omitempty"`
	// RulesOmitted tells that the rules were too many for a handle: on an empty host they must be applied anew.
	RulesOmitted bool `json:"rulesOmitted,omitempty"`
}

// nicHandle is all that is needed to make the nic again.
type nicHandle struct {
	Network  string     `json:"network"`
	Machine  string     `json:"machine"`
	MAC      string     `json:"mac"`
	Address  netip.Addr `json:"address"`
	Hostname string     `json:"hostname"`
	OwnerUID uint32     `json:"ownerUid"`
	// Secondary nics are offered no router.
	Secondary bool   `json:"secondary,omitempty"`
	MTU       uint32 `json:"mtu"`
	// What of the network its servers must know to serve the nic; none of it changes while the network lives.
	Domain string `json:"domain,omitempty"`
	DHCP   bool   `json:"dhcp"`
	DNS    bool   `json:"dns"`
}

func (h *networkHandle) design() design {
	return design{
		mode: h.Mode, cidr: h.CIDR, gateway: h.Gateway, upstreams: h.Upstreams, domain: h.Domain, mtu: h.MTU,
		dhcp: h.DHCP, dns: h.DNS, lease: h.Lease,
	}
}

func handleOf(d design, transit netip.Prefix) *networkHandle {
	return &networkHandle{
		Mode: d.mode, CIDR: d.cidr, Gateway: d.gateway, Upstreams: d.upstreams, Domain: d.domain, MTU: d.mtu,
		DHCP: d.dhcp, DNS: d.dns, Lease: d.lease, Transit: transit,
	}
}

// setRules packs the rules.
func (h *networkHandle) setRules(rules []*driverpb.Rule) error {
	h.Rules, h.RulesOmitted = nil, false
	if len(rules) == 0 {
		return nil
	}
	plain, err := proto.Marshal(&driverpb.RulesRequest{Rules: rules})
	if err != nil {
		return fmt.Errorf("encoding rules: %w", err)
	}
	var packed bytes.Buffer
	packer, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return fmt.Errorf("packing rules: %w", err)
	}
	if _, err := packer.Write(plain); err != nil {
		return fmt.Errorf("packing rules: %w", err)
	}
	if err := packer.Close(); err != nil {
		return fmt.Errorf("packing rules: %w", err)
	}
	if packed.Len() > maxPackedRules {
		h.RulesOmitted = true
		return nil
	}
	h.Rules = packed.Bytes()
	return nil
}

// plan works out what follows from the rules.
func (h *networkHandle) plan() (plan, error) {
	rules, err := h.rules()
	if err != nil {
		return plan{}, err
	}
	return planRules(h.design(), outerOf(h), rules)
}

// rules unpacks the rules.
func (h *networkHandle) rules() ([]*driverpb.Rule, error) {
	if len(h.Rules) == 0 {
		return nil, nil
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(h.Rules)), maxUnpackedRules))
	if err != nil {
		return nil, badHandle(err)
	}
	var request driverpb.RulesRequest
	if err := proto.Unmarshal(plain, &request); err != nil {
		return nil, badHandle(err)
	}
	return request.GetRules(), nil
}

func encodeHandle(content any) (*driverpb.Handle, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding handle: %w", err)
	}
	return &driverpb.Handle{Version: handleVersion, Data: data}, nil
}

// decodeNetwork returns nil for an empty handle.
func decodeNetwork(handle *driverpb.Handle) (*networkHandle, error) {
	if len(handle.GetData()) == 0 {
		return nil, nil
	}
	var content networkHandle
	if err := decodeHandle(handle, &content); err != nil {
		return nil, err
	}
	// What the handle says goes into commands: it must be as sound as a spec.
	if _, err := readSpec(content.design().spec()); err != nil {
		return nil, badHandle(err)
	}
	if content.Transit.IsValid() && (!content.Transit.Addr().Is4() || content.Transit != content.Transit.Masked()) {
		return nil, badHandle(fmt.Errorf("transit %s", content.Transit))
	}
	if content.Lease < minLease || content.Lease > maxLease {
		return nil, badHandle(fmt.Errorf("lease of %d seconds", content.Lease))
	}
	return &content, nil
}

// decodeNic returns nil for an empty handle.
func decodeNic(handle *driverpb.Handle) (*nicHandle, error) {
	if len(handle.GetData()) == 0 {
		return nil, nil
	}
	var content nicHandle
	if err := decodeHandle(handle, &content); err != nil {
		return nil, err
	}
	if content.Domain != "" && !domainPattern.MatchString(content.Domain) {
		return nil, badHandle(fmt.Errorf("domain %q", content.Domain))
	}
	return &content, nil
}

func decodeHandle(handle *driverpb.Handle, content any) error {
	if handle.GetVersion() != handleVersion {
		return sdk.Unsupported("handle-version",
			fmt.Sprintf("handle version %d can't be read; this version reads %d", handle.GetVersion(), handleVersion))
	}
	if err := json.Unmarshal(handle.GetData(), content); err != nil {
		return badHandle(err)
	}
	return nil
}

func badHandle(err error) error {
	return sdk.Invalid("bad-handle", "/call/handle", "the handle can't be read: "+err.Error(), "")
}
