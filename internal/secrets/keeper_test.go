package secrets_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// hides is a driver that calls some properties of pools, hosts and its own secret.
func hides(keys ...string) secrets.Secret {
	hidden := map[string]bool{}
	for _, key := range keys {
		hidden[key] = true
	}
	return func(string, resources.Kind) (map[string]bool, error) { return hidden, nil }
}

func keeper() *secrets.Keeper {
	k := &secrets.Keeper{}
	k.Use(secrets.Ring{}.With())
	return k
}

func poolWith(values map[string]any) *resources.Pool {
	return &resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, ID: "pool-1"},
		Spec: resources.PoolSpec{Driver: "acme/d", Properties: values},
	}
}

func protect(t testing.TB, k *secrets.Keeper, r, before resources.Resource, secret secrets.Secret) bool {
	t.Helper()
	changed, err := k.Protect(r, before, secret)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func part(t testing.TB, k *secrets.Keeper, r resources.Resource, at string, keys ...string) (open, closed string) {
	t.Helper()
	for _, s := range resources.SettingsOf(r) {
		if s.At != at {
			continue
		}
		hidden, _ := hides(keys...)("", "")
		o, c, err := k.Part(s, hidden)
		if err != nil {
			t.Fatal(err)
		}
		open, closed = fmt.Sprint(o), fmt.Sprint(c)
	}
	return open, closed
}

func TestWhatIsSecretIsSealedWhereItLies(t *testing.T) {
	k := keeper()
	given := map[string]any{"key": canary, "path": "/data", "size": 5.0}
	p := poolWith(given)
	if !protect(t, k, p, nil, hides("key", "size")) || given["key"] != canary {
		t.Errorf("%v of %v: what was given is changed itself, or nothing is", p.Spec.Properties, given)
	}
	is := p.Spec.Properties
	if strings.Contains(fmt.Sprint(p), canary) || is["path"] != "/data" || is["size"] != 5.0 {
		t.Errorf("it is %v", is)
	}
	if open, closed := part(t, k, p, "", "key"); open != "map[path:/data size:5]" || closed != "map[key:"+canary+"]" {
		t.Errorf("parted: %s and %s", open, closed)
	}
	if open, closed := part(t, k, p, ""); !strings.Contains(open, canary) || closed != "map[]" {
		t.Errorf("parted when it is no secret any more: %s and %s", open, closed)
	}
	text, sealed := resources.SealedText(p.Spec.Properties["key"])
	if id, err := secrets.KeyOf(text); !sealed || err != nil || id != resources.SealingKey(text) {
		t.Errorf("sealed with %q, %v; read as %q", id, err, resources.SealingKey(text))
	}
	before := poolWith(maps.Clone(p.Spec.Properties))
	if protect(t, k, p, nil, hides("key")) || !reflect.DeepEqual(before, p) {
		t.Error("it is sealed again")
	}
}

// What a change gives as it was is no change; what is new shares the data key of the resource.
func TestTheSameSecretStaysAsItWasSealed(t *testing.T) {
	k := keeper()
	before := poolWith(map[string]any{"key": canary, "other": "x"})
	protect(t, k, before, nil, hides("key", "other"))
	next := poolWith(map[string]any{"key": canary, "other": "y"})
	protect(t, k, next, before, hides("key", "other"))
	if !reflect.DeepEqual(next.Spec.Properties["key"], before.Spec.Properties["key"]) {
		t.Error("the same secret is sealed anew")
	}
	was, _ := resources.SealedText(before.Spec.Properties["other"])
	is, _ := resources.SealedText(next.Spec.Properties["other"])
	if was == is {
		t.Error("another secret is sealed as before")
	}
	if _, closed := part(t, k, next, "", "key", "other"); closed != "map[key:"+canary+" other:y]" {
		t.Errorf("it opens as %s", closed)
	}
}

func TestTheControllerOfAHostHasItsOwn(t *testing.T) {
	k := keeper()
	shared := &resources.OutOfBand{Driver: "acme/bmc", Properties: map[string]any{"key": "of the controller"}}
	h := &resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, ID: "host-1"},
		Spec: resources.HostSpec{Driver: "acme/d", Properties: map[string]any{"key": canary}, OutOfBand: shared},
	}
	protect(t, k, h, nil, hides("key"))
	if shared.Properties["key"] != "of the controller" || strings.Contains(fmt.Sprint(h.Spec.OutOfBand), "controller]") {
		t.Errorf("%v, and what was given is %v", h.Spec.OutOfBand, shared)
	}
	for at, want := range map[string]string{"": canary, "outOfBand/": "of the controller"} {
		if _, closed := part(t, k, h, at, "key"); closed != "map[key:"+want+"]" {
			t.Errorf("%q opens as %s", at, closed)
		}
	}
	h.Spec.Properties, h.Spec.OutOfBand.Properties = h.Spec.OutOfBand.Properties, h.Spec.Properties
	if _, _, err := k.Part(resources.SettingsOf(h)[0], nil); err == nil {
		t.Error("one opens in the place of the other")
	}
}

func TestKeysAreReplacedInResources(t *testing.T) {
	k := keeper()
	p := poolWith(map[string]any{"key": canary, "later": "x"})
	protect(t, k, p, nil, hides("key"))
	old := k.Ring()
	k.Use(old.And(secrets.Ring{}.With()))
	if protect(t, k, p, nil, hides("key")) {
		t.Error("a key that does not seal yet changes something")
	}
	k.Use(k.Ring().First(k.Ring().IDs()[1]))
	if !protect(t, k, p, nil, hides("key", "later")) {
		t.Error("nothing is sealed with the new key")
	}
	k.Use(k.Ring().Only())
	if k.Ring().Has(old.IDs()[0]) {
		t.Error("the old key is there still")
	}
	if _, closed := part(t, k, p, "", "key", "later"); closed != "map[key:"+canary+" later:x]" {
		t.Errorf("it opens as %s", closed)
	}
	if k.Forsake(p) {
		t.Error("given up, though it opens")
	}
}

func TestWhatIsLostIsNamed(t *testing.T) {
	k := keeper()
	p := poolWith(map[string]any{"key": canary, "path": "/data"})
	protect(t, k, p, nil, hides("key"))
	k.Use(secrets.Ring{}.With())
	for _, given := range []bool{false, true} {
		if given && !k.Forsake(p) {
			t.Error("there was nothing to give up")
		}
		open, closed, err := k.Part(resources.SettingsOf(p)[0], map[string]bool{"key": true})
		e, want := resources.AsError(err), "no-secret-keys"
		if given {
			want = resources.CodeSecretLost
		}
		if e.Code != want || given && (len(e.Fields) != 1 || e.Fields[0].Pointer != "/spec/properties/key") ||
			len(closed) > 0 || len(open) != 1 {
			t.Errorf("given up %v: %v, %v and %v", given, err, open, closed)
		}
		if lost := resources.Lost(p); given != (len(lost) == 1) {
			t.Errorf("given up %v: lost are %v", given, lost)
		}
		if protect(t, k, p, nil, hides("key")) {
			t.Errorf("given up %v: it is sealed anew", given)
		}
	}
	next := poolWith(map[string]any{"key": canary})
	protect(t, k, next, p, hides("key"))
	if _, closed := part(t, k, next, "", "key"); closed != "map[key:"+canary+"]" {
		t.Errorf("given again it opens as %s", closed)
	}
	if _, err := (&secrets.Keeper{}).Protect(poolWith(map[string]any{"key": "x"}), nil, hides("key")); !errors.Is(
		err, secrets.ErrNoKey) {
		t.Errorf("without keys: %v", err)
	}
}

func TestADriverIsToldItsSecretsApart(t *testing.T) {
	k := keeper()
	d := &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, ID: "drv-1"},
		Spec: resources.DriverSpec{Product: "acme/d", Properties: map[string]any{"key": canary, "note": "n"}},
		Status: resources.DriverStatus{Properties: []resources.Property{
			{Key: "key", Scope: "driver", Secret: true}, {Key: "note", Scope: "pool", Secret: true},
		}},
	}
	for _, sealed := range []bool{false, true} {
		if sealed {
			protect(t, k, d, nil, hides("key"))
		}
		told, err := k.Apart(d)
		if err != nil || told.Spec.Secrets["key"] != canary || len(told.Spec.Properties) != 1 || len(d.Spec.Secrets) > 0 {
			t.Errorf("sealed %v: it is told %v, %v", sealed, told.Spec, err)
		}
	}
	other := *d // another version of the product takes over what it was given
	other.ID = "drv-2"
	if told, err := k.Apart(&other); err != nil || told.Spec.Secrets["key"] != canary {
		t.Errorf("another version is told %v, %v", told.Spec, err)
	}
}

// Whatever is given opens as it was, and nothing of it is in what is written down.
func TestAnySettingsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := keeper()
		values := rapid.MapOf(rapid.StringMatching(`[a-z]{1,8}`), rapid.StringMatching(`[A-Z]{12,20}`)).Draw(t, "values")
		hidden, given := map[string]bool{}, map[string]any{}
		for key, value := range values {
			given[key], hidden[key] = value, rapid.Bool().Draw(t, key)
		}
		p := poolWith(maps.Clone(given))
		secret := func(string, resources.Kind) (map[string]bool, error) { return hidden, nil }
		if _, err := k.Protect(p, nil, secret); err != nil {
			t.Fatal(err)
		}
		for key, value := range values {
			if hidden[key] && strings.Contains(fmt.Sprint(p.Spec.Properties), value) {
				t.Fatalf("%s lies in clear", key)
			}
		}
		for _, s := range resources.SettingsOf(p) {
			open, closed, err := k.Part(s, hidden)
			for key, value := range closed {
				open[key] = value
			}
			if err != nil || !reflect.DeepEqual(open, given) {
				t.Fatalf("%v, %v", open, err)
			}
		}
	})
}

func BenchmarkPart(b *testing.B) {
	k := keeper()
	for name, p := range map[string]*resources.Pool{
		"one secret":  poolWith(map[string]any{"key": canary, "path": "/data"}),
		"no secret":   poolWith(map[string]any{"note": "x", "path": "/data"}),
		"no settings": poolWith(nil),
	} {
		protect(b, k, p, nil, hides("key"))
		hidden := map[string]bool{"key": true}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, s := range resources.SettingsOf(p) {
					if _, _, err := k.Part(s, hidden); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
