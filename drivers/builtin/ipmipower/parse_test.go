package ipmipower_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestOnlyOffIsOff: whatever else ipmitool prints is not taken for a host without power.
func TestOnlyOffIsOff(t *testing.T) {
	for out, want := range map[string]driverpb.Power{
		"Chassis Power is on\n":           driverpb.Power_POWER_ON,
		"Chassis Power is off\n":          driverpb.Power_POWER_OFF,
		"a warning\nChassis Power is off": driverpb.Power_POWER_OFF,
		"":                                driverpb.Power_POWER_UNKNOWN,
		"Chassis Power is off?":           driverpb.Power_POWER_UNKNOWN,
		"Chassis Power is offline":        driverpb.Power_POWER_UNKNOWN,
		"Chassis Power is off\nChassis Power is on\n":   driverpb.Power_POWER_ON,
		"Chassis Power Control: Down/Off\n":             driverpb.Power_POWER_UNKNOWN,
		"Chassis Power is off\nUnable to close session": driverpb.Power_POWER_UNKNOWN,
	} {
		if got := ipmipower.ParsePower(out); got != want {
			t.Errorf("%q is %s, want %s", out, got, want)
		}
	}
}

func TestAGUIDIsReadInEveryOrder(t *testing.T) {
	got := ipmipower.ParseGUID(" a1 23 45 67 89 ab cd ef a1 23 45 67 89 ab cd\n ef\n")
	want := []string{
		"674523a1-ab89-efcd-a123-456789abcdef", "a1234567-89ab-cdef-a123-456789abcdef",
		"efcdab89-6745-23a1-efcd-ab89674523a1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for _, none := range []string{"", " a1 23", "zz", strings.Repeat(" 00", 16), strings.Repeat(" ff", 16)} {
		if got := ipmipower.ParseGUID(none); got != nil {
			t.Errorf("%q is %v", none, got)
		}
	}
}

// TestWhatFailedIsTold: what ipmitool 1.8.18 and 1.8.19 say, and what an operator can do about it.
func TestWhatFailedIsTold(t *testing.T) {
	const session = "\nError: Unable to establish IPMI v2 / RMCP+ session\n"
	for words, want := range map[string]string{
		"> RAKP 2 HMAC is invalid" + session:                                                       "credentials-refused",
		"RAKP 2 message indicates an error : unauthorized name" + session:                          "credentials-refused",
		"RAKP 2 message indicates an error : unauthorized role requested" + session:                "credentials-refused",
		"Set Chassis Power Control to Down/Off failed: Insufficient privilege level\n":             "credentials-refused",
		"Error in open session response message : invalid authentication algorithm" + session:      "cipher-refused",
		"Error in open session response message : no matching cipher suite" + session:              "cipher-refused",
		"Address lookup for bmc.example failed\nCould not open socket!" + session:                  "controller-unreachable",
		"Get Auth Capabilities error\n" + session:                                                  "controller-unreachable",
		"Invalid completion code received: Insufficient privilege level\nGet Auth error" + session: "controller-unreachable",
		"Set Chassis Power Control to Soft failed: Invalid data field in request\n":                "action-unsupported",
		"Unable to send RAW command (channel=0x0 netfn=0x6 cmd=0x37 rsp=0xc1): Invalid command\n":  "action-unsupported",
		"Set Chassis Power Control to Down/Off failed: Node busy\n":                                "controller-unreachable",
		"": "controller-unreachable",
	} {
		if got := sdk.FaultOf(ipmipower.Fault(words)).GetCode(); got != want {
			t.Errorf("%q is %s, want %s", words, got, want)
		}
	}
	if fault := sdk.FaultOf(ipmipower.Missing()); fault.GetCode() != "ipmitool-missing" ||
		!strings.Contains(fault.GetRemedy(), "package ipmitool") {
		t.Errorf("without the program: %v", fault)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"Chassis Power is off\n", " a1 23 45 67 89 ab cd ef a1 23 45 67 89 ab cd ef\n",
		" Product Serial        : SN-0042\n Product Name : Metal : 1\n", "> RAKP 2 HMAC is invalid\n", "\xff failed\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, out string) {
		last := strings.TrimRight(out, " \t\r\n\v\f\u0085\u00a0")
		if ipmipower.ParsePower(out) == driverpb.Power_POWER_OFF && !strings.HasSuffix(last, "Chassis Power is off") {
			t.Errorf("%q is off", out)
		}
		if n := len(ipmipower.ParseGUID(out)); n != 0 && n != 3 {
			t.Errorf("%d GUIDs", n)
		}
		serials, _, _ := ipmipower.ParseFRU(out)
		for _, serial := range serials {
			if serial == "" {
				t.Error("a serial number of nothing")
			}
		}
		if fault := sdk.FaultOf(ipmipower.Fault(out)); fault.GetCode() == "" || !utf8.ValidString(fault.GetMessage()) {
			t.Errorf("%q makes the fault %v", out, fault)
		}
	})
}
