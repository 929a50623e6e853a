package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// catalogue is a zone with drivers that fit together in some ways.
func catalogue(t *testing.T) (*site, map[string]string) {
	s := newSite(t)
	names := map[string]string{}
	add := func(product, category string, can map[string]any, properties ...resources.Property) {
		id := s.zone.Add(&resources.Driver{
			Meta: resources.Meta{Kind: resources.KindDriver},
			Spec: resources.DriverSpec{
				Product: product, Version: "1.0.0", Categories: []string{category}, BuiltIn: true, Enabled: true,
			},
			Status: resources.DriverStatus{Capabilities: can, Properties: properties},
		})
		names[id] = product
	}
	texts := func(all ...any) []any { return all }
	add("a/qemuhypervisor", "hypervisor", map[string]any{
		"volumeProtocols": texts("file", "rbd"), "machineFormats": texts("raw", "qcow2"),
	})
	add("a/vmware-hypervisor", "hypervisor", map[string]any{
		"volumeProtocols": texts("vmfs"), "machineFormats": texts("vmdk"),
	})
	add("a/files", "storage", map[string]any{"protocol": "file", "poolScope": "host", "volumeFormats": texts("raw")},
		resources.Property{Key: "path", Scope: "pool", Type: "string", Label: "Directory", Required: true})
	add("a/ceph", "storage", map[string]any{"protocol": "rbd", "poolScope": "zone", "volumeFormats": texts("raw")})
	add("a/array", "storage", map[string]any{"protocol": "vmfs", "poolScope": "cluster", "volumeFormats": texts("vmdk")})
	add("a/oddrbd", "storage", map[string]any{"protocol": "rbd", "poolScope": "zone", "volumeFormats": texts("vhd")})
	add("a/lvm", "storage", map[string]any{"protocol": "rbd", "poolScope": "host", "volumeFormats": texts("raw")})
	add("a/images", "image", map[string]any{"imageFormats": texts("qcow2")})
	add("a/bridges", "network", nil)
	both := s.zone.Add(&resources.Driver{ // its images suit qemu, its pools do not
		Meta: resources.Meta{Kind: resources.KindDriver},
		Spec: resources.DriverSpec{
			Product: "a/both", Version: "1.0.0", Categories: []string{"storage", "image"}, BuiltIn: true, Enabled: true,
		},
		Status: resources.DriverStatus{Capabilities: map[string]any{
			"protocol": "nvme", "poolScope": "zone", "volumeFormats": texts("raw"), "imageFormats": texts("qcow2"),
		}},
	})
	names[both] = "a/both"
	return s, names
}

// Seed 004: which drivers can be used here, and what do they want to know?
func TestWhichDriversCanBeUsedHere(t *testing.T) {
	s, names := catalogue(t)
	for query, want := range map[string]string{
		"category=storage":                                             "[a/files a/ceph a/array a/oddrbd a/lvm a/both]",
		"category=storage&hypervisor=qemu":                             "[a/files a/ceph a/lvm]",
		"category=storage&hypervisor=qemu&scope=cluster":               "[a/files a/ceph]",
		"category=storage&hypervisor=qemuhypervisor&scope=zone":        "[a/files a/ceph]",
		"category=storage&hypervisor=a/vmware-hypervisor":              "[a/array]",
		"category=storage&hypervisor=vmware&scope=cluster":             "[a/array]",
		"category=storage&hypervisor=vmware&scope=zone":                "[]",
		"category=storage&scope=zone":                                  "[a/files a/ceph a/oddrbd a/both]",
		"hypervisor=vmware":                                            "[a/vmware-hypervisor a/array a/bridges]",
		"category=image&hypervisor=qemu":                               "[a/images a/both]",
		"category=image&hypervisor=vmware":                             "[]",
		"category=hypervisor&hypervisor=qemu":                          "[a/qemuhypervisor]",
		"category=network&hypervisor=qemu&scope=zone":                  "[a/bridges]",
		"category=storage&hypervisor=qemu&pageSize=2":                  "[a/files a/ceph]",
		"category=storage&hypervisor=qemu&product=a/lvm&scope=cluster": "[]",
	} {
		got := []string{}
		for _, id := range ids(s.get("/v1/drivers?" + query).want(http.StatusOK)) {
			got = append(got, names[id])
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", query, got, want)
		}
	}
	s.get("/v1/drivers?hypervisor=hyperv").problem(422, "validation-failed").
		field("query", "/hypervisor", "unknown-driver")
	s.get("/v1/drivers?scope=rack").problem(422, "validation-failed").field("query", "/scope", "not-allowed")
}

func TestUsableDriversArePaged(t *testing.T) {
	s, names := catalogue(t)
	path := "/v1/drivers?category=storage&hypervisor=qemu&pageSize=1"
	all, pages := s.readAll(path)
	got := []string{}
	for _, id := range all {
		got = append(got, names[id])
	}
	if fmt.Sprint(got) != "[a/files a/ceph a/lvm]" || pages > 4 {
		t.Errorf("got %v in %d pages", got, pages)
	}
	token := s.get(path).body["nextPageToken"].(string)
	s.get("/v1/drivers?category=storage&hypervisor=vmware&pageSize=1&pageToken="+token).
		problem(422, "validation-failed").field("query", "/pageToken", "other-filters")
}

func TestDriversSpeakTheLanguageAskedFor(t *testing.T) {
	s, names := catalogue(t)
	files := ""
	for id, product := range names {
		if product == "a/files" {
			files = id
		}
	}
	label := func(a *answer) any {
		return a.want(http.StatusOK).body["status"].(object)["properties"].([]any)[0].(object)["label"]
	}
	german := func(path string) *answer {
		return s.do(request{
			method: http.MethodGet, path: path, as: reader, header: map[string]string{"Accept-Language": "de"},
		})
	}
	if got := label(german("/v1/drivers/" + files)); got != "Directory (de)" {
		t.Errorf("one: %v", got)
	}
	if got := label(s.get("/v1/drivers/" + files)); got != "Directory" {
		t.Errorf("in no language: %v", got)
	}
	list := german("/v1/drivers?product=a/files").want(http.StatusOK)
	first := list.body["items"].([]any)[0].(object)["status"].(object)["properties"].([]any)[0].(object)
	if first["label"] != "Directory (de)" {
		t.Errorf("list: %v", first)
	}
	schema := german("/v1/drivers/" + files + "/schema?scope=pool").want(http.StatusOK)
	if got := schema.body["schema"].(object)["properties"].(object)["path"].(object)["title"]; got != "Directory (de)" {
		t.Errorf("schema: %v", schema.body)
	}
	own := s.get("/v1/drivers/" + files + "/schema").want(http.StatusOK).body["schema"].(object)
	if got := len(own["properties"].(object)); got != 0 {
		t.Errorf("the driver itself has %d properties", got)
	}
	s.get("/v1/drivers/"+files+"/schema?scope=pool/").problem(422, "validation-failed").
		field("query", "/scope", "bad-format")
	s.get("/v1/drivers/drv"+tailOfNothing+"/schema").problem(404, "not-found")
}

func TestHowADriverDoes(t *testing.T) {
	s, names := catalogue(t)
	path := ""
	for id, product := range names {
		if product == "a/files" {
			path = "/v1/drivers/" + id
		}
	}
	all := s.get(path + "/instances").want(http.StatusOK).body
	one := all["items"].([]any)[0].(object)
	method := one["methods"].([]any)[0].(object)
	if one["node"] != "node-1" || one["isolation"] != "strong" || one["memoryBytes"] != float64(12<<20) ||
		method["method"] != "Storage.CreateVolume" || method["p99Seconds"] != 1.25 ||
		method["outcomes"].(object)["exhausted"] != 1.0 || len(one["lastErrors"].([]any)) != 2 {
		t.Errorf("got %v", one)
	}
	if bound := all["bound"].([]any)[0].(object); bound["count"] != 2.0 || bound["list"] != "/v1/pools?driver=a/files" {
		t.Errorf("it acts for %v", bound)
	}
	if silent := all["unanswered"].([]any)[0].(object); silent["node"] != "node-2" {
		t.Errorf("unanswered: %v", silent)
	}
	const volume = "vol-01jd3v8x5m9k2q7r4t6w8y0z1a"
	for query, want := range map[string]int{
		"": 1, "?limit=1&kind=volume": 1, "?kind=pool": 0, "?resource=" + volume: 1,
		"?resource=vol" + tailOfNothing: 0,
	} {
		list := s.get(path + "/calls" + query).want(http.StatusOK).body["items"].([]any)
		if len(list) != want {
			t.Errorf("%s: got %d resources, want %d", query, len(list), want)
			continue
		}
		if want == 0 {
			continue
		}
		found := list[0].(object)
		if found["resource"].(object)["id"] != volume || found["lastError"].(object)["code"] != "no-space" {
			t.Errorf("%s: got %v", query, found)
		}
	}
	s.get(path+"/calls?limit=0").problem(422, "validation-failed").field("query", "/limit", "out-of-range")
	s.get(path+"/calls?resource=something").problem(422, "validation-failed").field("query", "/resource", "bad-format")
	s.get("/v1/drivers/drv"+tailOfNothing+"/instances").problem(404, "not-found")
	s.get("/v1/drivers/drv"+tailOfNothing+"/calls").problem(404, "not-found")
}

// What acts for a resource is asked for where the resource is.
func TestWhichDriverActs(t *testing.T) {
	s, names := catalogue(t)
	pool := s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "a/files"},
	})
	volume := s.zone.Add(&resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume}, Status: resources.VolumeStatus{PoolID: resources.PoolID(pool)},
	})
	strange := s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "strange"}, Spec: resources.PoolSpec{Driver: "a/nobody"},
	})
	for _, path := range []string{"/v1/pools/" + pool, "/v1/volumes/" + volume} {
		got := s.get(path + "/driver").want(http.StatusOK).body
		if names[fmt.Sprint(got["id"])] != "a/files" || got["product"] != "a/files" || got["version"] != "1.0.0" ||
			got["bound"] != true {
			t.Errorf("for %s acts %v", path, got)
		}
	}
	s.get("/v1/pools/"+strange+"/driver").problem(404, "no-such-driver")
	s.get("/v1/pools/pool"+tailOfNothing+"/driver").problem(404, "not-found")
	if status := s.get("/v1/swaps/swap" + tailOfNothing + "/driver").status; status != http.StatusNotFound {
		t.Errorf("of a swap, for which no driver acts: %d", status)
	}
}

// rival is an engine before which somebody else is, once.
type rival struct {
	*apitest.Zone
	first func()
}

// Submit implements door.Engine.
func (r *rival) Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error) {
	if first := r.first; first != nil {
		r.first = nil
		first()
		return nil, &resources.Error{
			Class: resources.ClassUnavailable, Code: "installed-meanwhile", Message: "it was installed at the same time",
		}
	}
	return r.Zone.Submit(ctx, s)
}

// Who copies a version at the same time as somebody else gets another copy, or is told that the label is taken.
func TestCopiesThatAreMadeAtTheSameTime(t *testing.T) {
	for body, want := range map[string]string{`{}`: "1.0.0+set2", `{"label":"set1"}`: ""} {
		r := &rival{}
		s := newSite(t, func(o *api.Options, z *apitest.Zone) {
			r.Zone = z
			o.Engine = r
		})
		from, _ := s.versions("a/files")
		r.first = func() {
			s.zone.Add(&resources.Driver{
				Meta: resources.Meta{Kind: resources.KindDriver}, Spec: resources.DriverSpec{
					Product: "a/files", Version: "1.0.0+set1", Variant: "set1", Categories: []string{"storage"}, Enabled: true,
				},
			})
		}
		a := s.post("/v1/drivers/"+from+"/actions/copy", body)
		if want == "" {
			a.problem(409, "version-taken").field("body", "/label", "version-taken")
			continue
		}
		made := s.get("/v1/drivers/" + a.want(202).made()).want(200).body["spec"].(object)
		if made["version"] != want {
			t.Errorf("the copy is %v, want %s", made["version"], want)
		}
	}
}
