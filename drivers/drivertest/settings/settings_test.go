package settings_test

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/settings"
)

func TestWhatIsWrongIsNamed(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown field":   {`{"storage":{"pol":{}}}`, `unknown field "pol"`},
		"wrong type":      {`{"storage":{"volumeBytes":"big"}}`, "storage.volumeBytes: must be a uint64, not a string"},
		"odd size":        {`{"storage":{"volumeBytes":1000}}`, "storage.volumeBytes: must be a multiple of 1048576"},
		"no duration":     {`{"limits":{"call":"soon"}}`, "write it as 90s or 2m"},
		"negative":        {`{"limits":{"killPoints":-1}}`, "limits.killPoints: must not be negative"},
		"unknown class":   {`{"storage":{"badPools":[{"name":"x","class":"ODD"}]}}`, `storage.badPools[0].class: "ODD"`},
		"without a name":  {`{"images":{"badStores":[{}]}}`, "images.badStores[0].name"},
		"two sources":     {`{"images":{"good":{"file":"/a","url":"http://b"}}}`, "images.good: needs one of url and file"},
		"two documents":   {`{} {}`, "more than one document"},
		"no JSON":         {`pool: x`, "reading the settings"},
		"truncated":       {`{"storage":`, "reading the settings"},
		"class of a bad":  {`{"outOfBand":{"refused":[{"name":"x","class":"SAD"}]}}`, "outOfBand.refused[0].class"},
		"bad without one": {`{"images":{"bad":[{"format":"raw"}]}}`, "images.bad[0][0].name"},
	} {
		_, err := settings.Parse([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func parse(t *testing.T, text string) settings.Settings {
	t.Helper()
	s, err := settings.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func storage() []driverpb.Category { return []driverpb.Category{driverpb.Category_CATEGORY_STORAGE} }

func TestADirectoryIsMadeForEachPathThatTheDriverWritesTo(t *testing.T) {
	described := &driverpb.DescribeReply{Properties: []*driverpb.Property{
		{Key: "path", Scope: "pool", Required: true, PathAccess: driverpb.Property_ACCESS_READ_WRITE},
		{Key: "depth", Scope: "pool", Required: true, Default: structpb.NewNumberValue(3)},
		{Key: "elsewhere", Scope: "host", Required: true},
	}}
	h, err := parse(t, `{"storage":{
		"pool":{"name":"pool of {dir}"}, "badPools":[{"name":"gone","properties":{"path":"/no"}}]
	}}`).Harness(storage(), described)
	if err != nil {
		t.Fatal(err)
	}
	one, other := h.Storage.Pool(t), h.Storage.Pool(t)
	path, _ := one["path"].(string)
	if info, err := os.Stat(path); err != nil || !info.IsDir() || one["path"] == other["path"] {
		t.Errorf("the paths are %v and %v: %v", one["path"], other["path"], err)
	}
	if one["name"] != "pool of "+path {
		t.Errorf("the directory of one pool is not the same everywhere: %v", one)
	}
	bad := h.Storage.BadPools[0].Properties(t)
	if bad["path"] != "/no" || !strings.HasPrefix(bad["name"].(string), "pool of /") {
		t.Errorf("the bad pool is %v", bad)
	}
	if h.Hypervisor != nil || h.Images != nil || len(h.Only) != 1 {
		t.Error("more than storage is checked")
	}
}

func TestWhatNobodyCanMakeUpIsAskedFor(t *testing.T) {
	described := &driverpb.DescribeReply{Properties: []*driverpb.Property{
		{Key: "endpoint", Scope: "pool", Required: true},
		{Key: "password", Scope: "pool", Required: true, Secret: true},
	}}
	for text, want := range map[string]string{
		`{}`:                                    "--set storage.pool.endpoint=",
		`{"storage":{"pool":{"endpoint":"a"}}}`: `needs the secret "password"`,
		`{"storage":{"pool":{"endpoint":"a"},"secrets":{"password":"p"}}}`:            "",
		`{"storage":{"pool":{"endpoint":"a","path":"/x"},"secrets":{"password":""}}}`: "",
	} {
		_, err := parse(t, text).Harness(storage(), described)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestDefaultsOfTheOtherCategories(t *testing.T) {
	described := &driverpb.DescribeReply{Capabilities: &driverpb.Capabilities{
		NetworkModes: []string{"nat"}, ImageSources: []string{"file"}, PowerActions: []string{"off"},
	}}
	all := []driverpb.Category{
		driverpb.Category_CATEGORY_NETWORK, driverpb.Category_CATEGORY_IMAGE, driverpb.Category_CATEGORY_HYPERVISOR,
		driverpb.Category_CATEGORY_OUT_OF_BAND,
	}
	h, err := parse(t, `{"hypervisor":{"machine":{"name":"{id}","cpus":2,"memoryBytes":"67108864"}}}`).
		Harness(all, described)
	if err != nil {
		t.Fatal(err)
	}
	if m := h.Hypervisor.Machine(t, "mac-1"); m.GetName() != "mac-1" || m.GetCpus() != 2 {
		t.Errorf("the machine is %v", m)
	}
	spec := h.Networks.Spec(t)
	if spec.GetMode() != "nat" || h.Networks.Nic(t, spec, 2).GetAddress() != "10.213.1.12" ||
		h.Networks.Spec(t).GetCidr() != "10.213.2.0/24" {
		t.Errorf("the network is %v, its nic %v", spec, h.Networks.Nic(t, spec, 2))
	}
	good := h.Images.Good(t)
	if info, err := os.Stat(good.GetFile()); err != nil || info.Size() != 1<<20 || good.GetChecksum() == "" {
		t.Errorf("the template is %v: %v", good, err)
	}
	_, err = parse(t, `{"networks":{"spec":{"mod":"nat"}}}`).Harness(all, described)
	if err == nil || !strings.Contains(err.Error(), "networks.spec") {
		t.Errorf("a wrong spec: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"storage":{"pool":{"path":"{dir}"}},"limits":{"call":"1s"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := settings.Parse([]byte(text))
		if err != nil {
			return
		}
		_, _ = s.Harness(storage(), &driverpb.DescribeReply{})
	})
}
