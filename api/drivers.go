package api

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type driverList struct {
	ListParams
	Product    string `query:"product" maxLength:"65" doc:"Only versions of this product, vendor/name."`
	Category   string `query:"category" enum:"network,storage,image,hypervisor,out-of-band" doc:"Only drivers that serve this category."`
	Hypervisor string `query:"hypervisor" maxLength:"65" example:"sim" doc:"Only drivers that can be used with this hypervisor driver: its product, its name, or what it drives, such as qemu. Storage fits if it serves volumes by a protocol and in a format that the hypervisor takes, images if there is a format both know."`
	Scope      string `query:"scope" enum:"host,cluster,zone" doc:"Only storage whose pools can be reached from this far: of a host, of a cluster's hosts, of the whole zone. Storage of files counts for all, since a directory can be shared."`
	Operation  string `query:"operation" maxLength:"80" pattern:"^[a-z-]+/[a-z-]+$" patternDescription:"kind and action of an operation, such as volume/create" example:"volume/create" doc:"Only drivers that can be given settings for this operation alone: its kind and action."`
	Usable     bool   `query:"usable" doc:"Only drivers that policies, and the drivers themselves, let you use for anything; with operation, only with settings that you may give."`
}

// fits reports whether a driver has settings for the operation that is asked for, and can be used by who asks.
func (l *driverList) fits(d *resources.Driver, usable bool) bool {
	if l.Usable && !usable {
		return false
	}
	isAsked := func(a resources.DeniedAction) bool { return a.Action == l.Operation }
	if l.Usable && slices.ContainsFunc(d.Status.Denied, isAsked) {
		return false
	}
	return l.Operation == "" || slices.ContainsFunc(d.Status.Properties, func(p resources.Property) bool {
		return p.Scope == l.Operation && (p.Denied == "" || !l.Usable)
	})
}

func (l *driverList) facets() map[string]string {
	m := given("product", l.Product)
	if l.Category != "" {
		m["category."+l.Category] = "true"
	}
	return m
}

// query is what is looked up, and what page tokens of the list are made for, which is more.
func (l *driverList) query() (q resources.Query, mark []byte, err error) {
	params := l.ListParams
	params.PageToken = ""
	if q, err = query(resources.KindDriver, &params, l.facets()); err != nil {
		return q, nil, err
	}
	selected := q
	selected.Facets = given("hypervisor", l.Hypervisor, "scope", l.Scope, "operation", l.Operation)
	if l.Usable {
		selected.Facets["usable"] = "true"
	}
	maps.Copy(selected.Facets, q.Facets)
	mark = filterOf(selected)
	if l.PageToken != "" {
		var t pageToken
		t, err = parsePageToken(l.PageToken, mark)
		q.After = t.After
	}
	return q, mark, err
}

type driverPatch struct {
	MetaPatch
	Spec *driverSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type driverSpecPatch struct {
	Enabled    *bool          `json:"enabled,omitempty" doc:"Whether resources can be bound to it."`
	Current    *bool          `json:"current,omitempty" enum:"true" doc:"Makes this the version that new resources of the product are bound to, in place of the one that is."`
	Properties map[string]any `json:"properties,omitempty" doc:"Driver-wide properties to change; null takes one away."`
}

func (p driverPatch) apply(d *resources.Driver) {
	p.meta(&d.Meta)
	if p.Spec == nil {
		return
	}
	set(&d.Spec.Enabled, p.Spec.Enabled)
	set(&d.Spec.Current, p.Spec.Current)
	d.Spec.Properties = merged(d.Spec.Properties, p.Spec.Properties)
}

func (a *API) driverRoutes() {
	n := noun{resources.KindDriver, "driver", "drivers", "driver", "drivers", "Drivers"}
	register(a, route{
		id: "list-" + n.plural, method: http.MethodGet, path: n.path(), tag: n.tag, summary: "List " + n.many,
		about: "Lists drivers in the order of their ids, page by page, each with the properties that it wants to be told, " +
			"in the language that Accept-Language asks for. With category, hypervisor and scope: those that can be used there.",
		permission: door.To(door.VerbList, n.kind),
	}, a.listDrivers)
	register(a, route{
		id: "get-driver", method: http.MethodGet, path: n.target(), tag: n.tag, summary: "Get one " + n.one,
		about: "Reads one driver by its id, with what you may not use it for and which of its properties you may not give " +
			"a value.",
		permission: door.To(door.VerbGet, n.kind),
	}, a.getDriver)
	addPatch[driverPatch](a, n)
	addDelete(a, n)
	a.install(n)
	a.copyDriver(n)
	a.attaching(n)
	register(a, route{
		id: "get-driver-schema", method: http.MethodGet, path: n.target() + "/schema", tag: n.tag,
		summary: "Get the schema of a driver's properties",
		about: "Describes the properties of a scope as JSON Schema 2020-12, for forms and other programs, in the language " +
			"that Accept-Language asks for.",
		permission: door.To(door.VerbGet, n.kind),
	}, a.driverSchema)
	a.driverFigures(n)
}

// install adds the route that installs a version of a driver.
func (a *API) install(n noun) {
	r := route{
		id: "install-driver", method: http.MethodPost, path: n.path(), tag: n.tag,
		status: http.StatusAccepted, summary: "Install a version of a driver",
		about: "Installs the version that an archive (.car) holds, beside those that there are. The archive is checked, " +
			"and kept by two nodes if there are several, before this is accepted; all nodes and agents get it by themselves. " +
			"The first version of a product becomes its current one. It is refused if what the version requires is not there. " +
			"Installing the same archive again has members get " +
			"anew what they had to take out of use.",
		permission: door.To("create", n.kind),
	}
	registerOperation(a, r.operation(), a.installDriver)
	a.operation(r).RequestBody = &huma.RequestBody{
		Required: true, Content: map[string]*huma.MediaType{
			contentType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		},
	}
}

func (a *API) installDriver(ctx context.Context, g door.Grant, in *struct{ WriteParams }) (*accepted, error) {
	if err := a.checkMediaType(ctx, contentType); err != nil {
		return nil, err
	}
	if o, err := a.repeated(ctx, g, in.WriteParams); err != nil {
		return nil, err
	} else if o != nil {
		return a.accept(ctx, g, o)
	}
	c := callFrom(ctx)
	from := &patient{call: c, body: c.request.Body}
	d, err := a.archives.TakeArchive(ctx, from)
	if from.err != nil {
		return nil, readFailure(from.err)
	}
	if err != nil {
		return nil, err
	}
	c.allow(ordinary, ordinary)
	for try := 1; ; try++ {
		o, err := a.submitInstall(ctx, g, d, in.WriteParams)
		if err == nil {
			return a.accept(ctx, g, o)
		}
		if !overtaken(err) || try == maxOvertaken {
			return nil, err
		}
		if d, err = a.archives.InstalledFrom(ctx, d); err != nil {
			return nil, err
		}
	}
}

// maxOvertaken is how often an installation may be overtaken by others of the same version.
const maxOvertaken = 16

// overtaken reports whether somebody else installed a version at the same time, or changed it.
func overtaken(err error) bool {
	codes := []string{resources.CodeInstalledMeanwhile, "revision-changed"}
	return err != nil && slices.Contains(codes, resources.AsError(err).Code)
}

// submitInstall asks for a version to be installed, or to be installed again.
func (a *API) submitInstall(
	ctx context.Context, g door.Grant, d *resources.Driver, in WriteParams,
) (*resources.Operation, error) {
	if d.ID == "" {
		return a.submit(ctx, g, resources.Submission{
			Action: "create", Target: resources.Ref{Kind: resources.KindDriver}, Resource: d,
		}, in)
	}
	g, err := a.door.Also(g, door.To("update", resources.KindDriver), d.ID)
	if err != nil {
		return nil, err
	}
	again := *d
	again.Spec.Installs++
	return a.submit(ctx, g, resources.Submission{
		Action: "update", Target: d.Ref(), Resource: &again, IfRevision: d.Revision,
	}, in)
}

func (a *API) getDriver(ctx context.Context, g door.Grant, in *TargetParams) (*one[resources.Driver], error) {
	r, err := a.door.Get(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	marks, err := a.door.Marks(ctx, g)
	if err != nil {
		return nil, err
	}
	out, err := shownOne[resources.Driver](ctx, a, g, r)
	if err == nil {
		marks.On(out.Body)
	}
	return out, err
}

// selected marks drivers for who asks, and tells which of them are in a list.
func (a *API) selected(ctx context.Context, g door.Grant, in *driverList) (func(d *resources.Driver) bool, error) {
	fits, err := a.usable(ctx, g, in)
	if err != nil {
		return nil, err
	}
	marks, err := a.door.Marks(ctx, g)
	return func(d *resources.Driver) bool {
		usable := marks.On(d)
		return fits(d) && in.fits(d, usable)
	}, err
}

// listDrivers lists drivers, and looks itself at what they say that they can do: nothing is found by that.
func (a *API) listDrivers(ctx context.Context, g door.Grant, in *driverList) (*pageOf[resources.Driver], error) {
	fits, err := a.selected(ctx, g, in)
	if err != nil {
		return nil, err
	}
	q, mark, err := in.query()
	if err != nil {
		return nil, err
	}
	v := a.newView(g)
	out := &pageOf[resources.Driver]{Body: page[resources.Driver]{Items: []*resources.Driver{}}}
	for {
		q.Limit = in.PageSize - len(out.Body.Items)
		p, err := a.door.List(ctx, g, q)
		if err != nil {
			return nil, err
		}
		out.Body.Revision = p.Revision
		for _, r := range p.Items {
			item, err := shown[resources.Driver](ctx, v, r)
			if err != nil {
				return nil, err
			}
			if fits(item) {
				out.Body.Items = append(out.Body.Items, item)
			}
		}
		q.After = p.Next
		if p.Next == "" || len(out.Body.Items) >= in.PageSize {
			break
		}
	}
	if q.After != "" {
		out.Body.NextPageToken = pageToken{out.Body.Revision, q.After, mark}.String()
	}
	return out, nil
}

type schemaParams struct {
	TargetParams
	Scope string `query:"scope" default:"driver" maxLength:"80" pattern:"^[a-z-]+(/[a-z-]+)?$" patternDescription:"driver, a kind such as pool, or the kind and action of an operation such as volume/grow" example:"pool" doc:"What the properties are of: driver, a kind, or the kind and action of an operation."`
}

// driverSchema describes the properties of a scope to programs.
type driverSchema struct {
	Product string         `json:"product" doc:"Vendor and name of the driver." example:"bulkhead/filestorage"`
	Version string         `json:"version" doc:"Its version."`
	Scope   string         `json:"scope" doc:"What the properties are of." example:"pool"`
	Schema  map[string]any `json:"schema" doc:"The properties as JSON Schema 2020-12; what that has no word for begins with x-."`
}

type schemaAnswer struct{ Body driverSchema }

func (a *API) driverSchema(ctx context.Context, g door.Grant, in *schemaParams) (*schemaAnswer, error) {
	d, err := a.driver(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	s, err := a.drivers.Schema(ctx, d, in.Scope, callFrom(ctx).languages())
	if err != nil {
		return nil, err
	}
	return &schemaAnswer{driverSchema{d.Spec.Product, d.Spec.Version, in.Scope, s}}, nil
}
